"""Send texts to the input topic, at a steady rate or as fast as the brokers take them."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.progress import Progress

from worker.broker.clients import producing
from worker.commands.wiring import connection_of
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.settings import Settings


def produce(settings: Settings, source: Path | None, *, is_json: bool, key: str | None, rate: float, count: int) -> None:
    """Send, with a progress bar where somebody can see it."""
    asyncio.run(_produce(settings, _records(source, is_json=is_json, key=key, count=count), rate=rate, count=count))


def _records(source: Path | None, *, is_json: bool, key: str | None, count: int) -> Iterator[tuple[bytes | None, bytes]]:
    """Return key and value of each record; a file that is shorter than `count` starts over. A missing file is noticed now."""
    lines = itertools.islice(_lines(source, is_repeated=count > 0), count or None)
    return (_record(line.rstrip(b"\r\n"), is_json=is_json, key=key) for line in lines if line.strip())


def _lines(source: Path | None, *, is_repeated: bool) -> Iterator[bytes]:
    if source is None or source == Path("-"):
        return iter(sys.stdin.buffer)
    try:
        content = source.read_bytes().splitlines()
    except OSError as error:
        raise BadSettings(f"{source}: {error.strerror}") from error
    return itertools.cycle(content) if is_repeated and content else iter(content)


def _record(line: bytes, *, is_json: bool, key: str | None) -> tuple[bytes | None, bytes]:
    if not is_json:
        return key.encode() if key else None, orjson.dumps({"text": line.decode(errors="replace")})
    if key is None:
        return None, line
    try:
        found = orjson.loads(line).get(key)
    except (orjson.JSONDecodeError, AttributeError):
        found = None
    return None if found is None else str(found).encode(), line


async def _produce(settings: Settings, records: Iterator[tuple[bytes | None, bytes]], *, rate: float, count: int) -> None:
    console = Console(stderr=True)
    num_sent, began_s = 0, time.monotonic()
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(settings.input_topic, total=count or None)
        async with producing(connection_of(settings)) as producer:
            for key, value in records:
                if rate:
                    await asyncio.sleep(max(0.0, began_s + num_sent / rate - time.monotonic()))
                await producer.send(settings.input_topic, value, key=key)
                num_sent += 1
                progress.update(bar, completed=num_sent)
    seconds = time.monotonic() - began_s
    console.print(f"{num_sent} records sent to {settings.input_topic} in {seconds:.1f} s", highlight=False)
