"""Show where the group stands, and set it anew: backwards to do work again, forwards to leave some out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from worker.broker.admin.offsets import GroupOffset, commit_offsets, fetch_group_offsets, find_offsets_since
from worker.commands.repair.timestamps import duration_ms, moment_ms
from worker.commands.terminal import Terminal
from worker.composition.broker import build_connection
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.connection.connection import Connection
    from worker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a group is to stand: exactly one of these is said."""

    earliest: bool = False
    latest: bool = False
    offset: int | None = None
    timestamp: str | None = None
    duration: str | None = None

    def __post_init__(self) -> None:
        """Raise `BadSettings` where none is said, or several."""
        if sum([self.earliest, self.latest, *(it is not None for it in (self.offset, self.timestamp, self.duration))]) != 1:
            raise BadSettings("say where to: one of --to-earliest, --to-latest, --to-offset, --to-timestamp, --by-duration")

    def since_ms(self, now_ms: int) -> int | None:
        """Return the moment that is meant, in milliseconds since the epoch; None where it is a place in the log."""
        if self.duration is not None:
            return now_ms - duration_ms(self.duration)
        return None if self.timestamp is None else moment_ms(self.timestamp, now_ms=now_ms)

    def within(self, standing: GroupOffset) -> int:
        """Return the place in one partition's log that is meant, or the nearest that it has."""
        ends = standing.ends
        if self.offset is not None:
            return min(max(self.offset, ends.first), ends.high_watermark)
        return ends.first if self.earliest else ends.end


def show(settings: Settings) -> None:
    """Print where the group stands in each partition, and who reads it."""
    connection, found = build_connection(settings), list[GroupOffset]()
    for topic in settings.input_topics:
        group, standing = asyncio.run(fetch_group_offsets(connection, topic, settings.group_id))
        found += standing
    console, table = Terminal(), Table(box=None, pad_edge=False)
    for name in ("partition", "committed", "first", "end", "lag", "owner"):
        is_name = name in {"partition", "owner"}
        table.add_column(name, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for it in found:
        committed = "-" if it.committed is None else str(it.committed)
        ends = it.ends
        table.add_row(str(it.partition), committed, str(ends.first), str(ends.end), str(it.lag), str(it.owner or "-"))
    console.print(f"group {settings.group_id}: {group.state.lower()}, {len(group.members)} members")
    console.print(table)


def reset(settings: Settings, target: Target, *, topic: str, partitions: Sequence[int], executes: bool) -> None:
    """Let the group stand elsewhere in some partitions of a topic, or in all; without `executes` only say where."""
    asyncio.run(_reset(settings, target, topic=topic, partitions=partitions, executes=executes))


async def _reset(settings: Settings, target: Target, *, topic: str, partitions: Sequence[int], executes: bool) -> None:
    connection, console = build_connection(settings), Terminal(soft_wrap=True)
    group, found = await fetch_group_offsets(connection, topic, settings.group_id)
    if strange := sorted(set(partitions) - {it.partition.index for it in found}):
        raise BadSettings(f"{topic} has no partition {strange[0]}: it has {len(found)}, from 0")
    chosen = [it for it in found if not partitions or it.partition.index in partitions]
    places = await _places(connection, chosen, target)
    for it, place in zip(chosen, places, strict=True):
        console.print(f"{it.partition}: {'-' if it.committed is None else it.committed} → {place}{_meaning(it, place)}")
    if any(place < it.start for it, place in zip(chosen, places, strict=True)):
        console.print(_warning(settings))
    if not executes:
        members = f" The group has {len(group.members)} live members: stop them first." if group.members else ""
        console.print(f"Nothing is changed yet: --execute does it.{members}")
        return
    await commit_offsets(connection, settings.group_id, {it.partition: at for it, at in zip(chosen, places, strict=True)})
    console.print(f"The group {settings.group_id} stands there now.")


async def _places(connection: Connection, chosen: Sequence[GroupOffset], target: Target) -> list[int]:
    since_ms = target.since_ms(round(time.time() * 1000))
    if since_ms is None:
        return [target.within(it) for it in chosen]
    # Kafka knows no moment before 1970.
    found = await find_offsets_since(connection, [it.partition for it in chosen], max(0, since_ms))
    return [it.ends.end if (offset := found[it.partition]) is None else offset for it in chosen]


def _meaning(standing: GroupOffset, place: int) -> str:
    back = standing.start - place
    if back > 0:
        return f"  (back: {back} offsets are processed again)"
    return f"  (on: {-back} offsets are left out)" if back < 0 else "  (nothing changes)"


def _warning(settings: Settings) -> str:
    again = "What goes back is processed again, and its outputs are published again, with the same ids"
    if settings.delivery == "exactly_once":
        return f"{again}: exactly once holds between two resets, not across one."
    return f"{again}."
