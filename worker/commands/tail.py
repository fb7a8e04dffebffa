"""Follow the results: the outputs of a record joined by where it stood in the input topic."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from worker.broker.clients import following
from worker.codec import embedding_vector
from worker.commands import show
from worker.commands.account import source_of
from worker.commands.wiring import connection_of, topics_of
from worker.records import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.commands.account import Place
    from worker.records import Record
    from worker.settings import Settings

# A record that did not ask for every task never has all outputs: what is there after so long is shown.
_PATIENCE_S = 1.0


@dataclass(slots=True)
class _Parts:
    """What has come of one record so far."""

    since_s: float
    values: dict[Output, dict[str, Any]] = field(default_factory=dict)


class Joiner:
    """Joins the outputs of each record; the time is an argument."""

    def __init__(self) -> None:
        # Records of which something is still awaited.
        self._waiting: dict[Place, _Parts] = {}

    def add(self, output: Output, record: Record, now_s: float) -> Iterator[tuple[Place, dict[Output, dict[str, Any]]]]:
        """Take an output; yield the record if that was the last of it."""
        place = source_of(record)
        if record.value is None:
            return
        parts = self._waiting.setdefault(place, _Parts(now_s))
        parts.values[output] = orjson.loads(record.value)
        if output is Output.DEAD_LETTERS or len(parts.values) == len(Output) - 1:
            yield place, self._waiting.pop(place).values

    def overdue(self, now_s: float) -> Iterator[tuple[Place, dict[Output, dict[str, Any]]]]:
        """Yield the records of which nothing more has come for long."""
        for place in [place for place, parts in self._waiting.items() if now_s - parts.since_s > _PATIENCE_S]:
            yield place, self._waiting.pop(place).values


def tail(settings: Settings, *, from_beginning: bool, count: int) -> None:
    """Follow until `count` records were shown, or for ever."""
    asyncio.run(_tail(settings, from_beginning=from_beginning, count=count))


async def _tail(settings: Settings, *, from_beginning: bool, count: int) -> None:
    console, joiner, num_shown = Console(highlight=False), Joiner(), 0
    outputs = {topic: output for output, topic in topics_of(settings).items()}
    async with contextlib.aclosing(following(connection_of(settings), list(outputs), from_beginning=from_beginning)) as arriving:
        async for records in arriving:
            now_s = time.monotonic()
            joined = [it for record in records for it in joiner.add(outputs[record.partition.topic], record, now_s)]
            for place, values in [*joined, *joiner.overdue(now_s)]:
                _show(console, place, values)
                num_shown += 1
                if num_shown == count:
                    return


def _show(console: Console, place: Place, values: dict[Output, dict[str, Any]]) -> None:
    if not console.is_terminal:
        merged = {"partition": place[0], "offset": place[1]}
        for value in values.values():
            merged |= value
        sys.stdout.write(orjson.dumps(merged).decode() + "\n")
        sys.stdout.flush()
        return
    if Output.DEAD_LETTERS in values:
        console.print(f"{place[0]}@{place[1]}", show.dead_letter(values[Output.DEAD_LETTERS]))
        return
    parts: list[Any] = [f"[dim]{place[0]}@{place[1]}[/]", next(iter(values.values()))["id"]]
    if Output.LABELS in values:
        parts.append(show.labelled(values[Output.LABELS]["labels"]))
    if Output.ENTITIES in values:
        entities = values[Output.ENTITIES]["entities"]
        parts += [show.highlighted(it["text"], [{**it, "start": 0, "end": len(it["text"])}]) for it in entities]
    if Output.EMBEDDINGS in values:
        vector = embedding_vector(values[Output.EMBEDDINGS])
        parts.append(f"[dim]{len(vector)} numbers: {vector[0]:.3f}, {vector[1]:.3f}, …[/]")
    console.print(*parts)
