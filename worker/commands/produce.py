"""Send texts to the input topic, at a steady rate or as fast as the brokers accept them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.progress import Progress

from worker.broker.admin.permissions import build_topic_rights
from worker.broker.admin.topics import check_usable
from worker.broker.tools.clients import open_producer
from worker.commands.input_lines import LineSource
from worker.commands.terminal import Terminal, client_warnings, count_noun
from worker.composition.broker import build_connection, require_one_topic
from worker.composition.input import build_mapping
from worker.wire.decode import VISIBLE
from worker.wire.envelopes import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from worker.broker.tools.clients import Producer
    from worker.settings import Settings
    from worker.wire.mapping import InputMapping


@dataclass(slots=True)
class ProducedCounts:
    """Counts of the lines that were read."""

    #: Sends the records; None until it is connected.
    producer: Producer | None = None
    num_blank: int = 0
    #: Requests without the field that has the key.
    num_without_key: int = 0

    def __str__(self) -> str:
        """Return the counts above 0, for the end of a sentence."""
        num_open = self.producer.num_sent - self.producer.num_acknowledged if self.producer else 0
        parts = [f"{num_open} more without an acknowledgement"] * bool(num_open)
        parts += [f"{count_noun(self.num_blank, 'blank line')} left out"] * bool(self.num_blank)
        parts += [f"{self.num_without_key} without a key, because the field is missing"] * bool(self.num_without_key)
        return "".join(f"; {part}" for part in parts)


def produce(
    settings: Settings,
    source: Annotated[
        Path | None, typer.Argument(help="A file of texts in UTF-8, one on each line. Unset or `-`: standard input.")
    ] = None,
    *,
    is_json: Annotated[bool, typer.Option("--json", help="The lines are JSON requests, and are sent unchanged.")] = False,
    key: Annotated[
        str | None,
        typer.Option(
            help="The key of every record. With --json: the field with the key; a string is used as it is, another value as JSON.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Records per second. 0: as fast as the brokers accept them.")] = 0,
    count: Annotated[
        int, typer.Option(min=0, help="Number of records. A file with fewer lines is read again. 0: each line of the file once.")
    ] = 0,
) -> None:
    """Send each line of a file or of standard input as one record to the input topic, with the text where the worker reads it.

    A line is sent as soon as it is complete. A file is checked first: if a line is not UTF-8, nothing is sent. Blank lines are left
    out and counted.
    """
    found, tally = LineSource.find(source), ProducedCounts()
    if found.is_repeatable:
        found.check()
    asyncio.run(_produce(settings, found, tally, is_json=is_json, key=key, rate=rate, count=count))


async def _produce(
    settings: Settings, source: LineSource, tally: ProducedCounts, *, is_json: bool, key: str | None, rate: float, count: int
) -> None:
    console, topic = Terminal(stderr=True), require_one_topic(settings)
    await check_usable(build_connection(settings), build_topic_rights(["Write"], [topic]))
    if source.is_terminal:
        console.print("one text on each line; Ctrl-D ends the input")
    began_s = time.monotonic()
    try:
        is_shown = console.is_terminal and not source.is_terminal
        with client_warnings(console), Progress(console=console, disable=not is_shown) as progress:
            bar = progress.add_task(escape(topic), total=count or None)
            async with (
                open_producer(build_connection(settings)) as producer,
                contextlib.aclosing(_records(settings, source, tally, is_json=is_json, key=key, count=count)) as records,
            ):
                tally.producer = producer
                async for name, value in records:
                    if rate:
                        await asyncio.sleep(max(0.0, began_s + producer.num_sent / rate - time.monotonic()))
                    await producer.send(topic, value, key=name)
                    progress.update(bar, completed=producer.num_sent)
    finally:
        if tally.producer is not None:
            seconds = time.monotonic() - began_s
            num_sent = tally.producer.num_acknowledged
            console.print(f"{count_noun(num_sent, 'record')} sent to {topic} in {seconds:.1f} s{tally}", soft_wrap=True)


async def _records(
    settings: Settings, source: LineSource, tally: ProducedCounts, *, is_json: bool, key: str | None, count: int
) -> AsyncGenerator[tuple[bytes | None, bytes], None]:
    """Yield key and value of each record: `count` records, or a record for each line that is not blank if `count` is 0."""
    num_read, is_again, mapping = 0, True, build_mapping(settings)
    while is_again:
        num_before = num_read
        async with contextlib.aclosing(source.lines()) as lines:
            async for line in lines:
                if not VISIBLE.search(line):
                    tally.num_blank += 1
                    continue
                yield (
                    _read_request(line, tally, key) if is_json else (os.fsencode(key) if key else None, build_value(line, mapping))
                )
                num_read += 1
                if num_read == count:
                    return
        is_again = count > 0 and source.is_repeatable and num_read > num_before


def build_value(text: str, mapping: InputMapping) -> bytes:
    """Return the value of a record from which a worker with this mapping reads the text."""
    return orjson.dumps(wrap(mapping.text.build_fields(text), mapping.envelope))


def _read_request(line: str, tally: ProducedCounts, key: str | None) -> tuple[bytes | None, bytes]:
    name = None if key is None else read_key(line, key)
    tally.num_without_key += key is not None and name is None
    return name, line.encode()


def read_key(line: str, field: str) -> bytes | None:
    """Return the key in a field of a request: a string itself, any other value as JSON; None for null or a missing field."""
    try:
        value: Any = json.loads(line).get(field)
        if value is None:
            return None
        return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()
    except (ValueError, AttributeError, RecursionError):
        return None
