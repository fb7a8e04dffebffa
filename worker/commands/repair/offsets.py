"""Show the committed offsets of the group, or move them: back to repeat work, forward to skip records."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from worker.broker.admin.offsets import GroupOffset, check_group_access, commit_offsets, fetch_group_offsets, find_offsets_since
from worker.commands.repair.lag import Json, print_offsets
from worker.commands.repair.timestamps import duration_ms, moment_ms
from worker.commands.terminal import Terminal, count_noun
from worker.composition.broker import build_connection, require_one_topic
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.connection.connection import Connection
    from worker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The new position of a group: exactly one of the fields is set."""

    earliest: bool = False
    latest: bool = False
    offset: int | None = None
    timestamp: str | None = None
    duration: str | None = None

    def __post_init__(self) -> None:
        """Raise `BadSettings` if no field or several fields are set."""
        given = (self.offset, self.timestamp, self.duration)
        if sum([self.earliest, self.latest, *(value is not None for value in given)]) != 1:
            raise BadSettings("give exactly one of --to-earliest, --to-latest, --to-offset, --to-timestamp, --by-duration")

    def since_ms(self, now_ms: int) -> int | None:
        """Return the target as a time, in milliseconds since the epoch; None if the target is a position in the log."""
        if self.duration is not None:
            return now_ms - duration_ms(self.duration)
        return None if self.timestamp is None else moment_ms(self.timestamp, now_ms=now_ms)

    def within(self, current: GroupOffset) -> int:
        """Return the target offset in one partition, limited to the offsets of its log."""
        ends = current.ends
        if self.offset is not None:
            return min(max(self.offset, ends.first), ends.high_watermark)
        return ends.first if self.earliest else ends.end


def show(settings: Settings, *, is_json: Json = False) -> None:
    """Show the committed offset, the first and the end offset, the lag and the owner of each partition."""
    print_offsets(settings, is_json=is_json, has_first=True)


def reset(
    settings: Settings,
    *,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="To the oldest record.")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="To the end: all existing records are skipped.")] = False,
    to_offset: Annotated[
        int | None, typer.Option(min=0, help="To this offset, or to the nearest that exists.", show_default=False)
    ] = None,
    to_timestamp: Annotated[
        str | None,
        typer.Option(
            help="To the first record at or after this time. Example: 2026-01-31T12:00:00Z; without a zone, the time is UTC.",
            show_default=False,
        ),
    ] = None,
    by_duration: Annotated[
        str | None,
        typer.Option(help="To the first record of the time before now. Examples: 90s, 30m, 2h, 7d.", show_default=False),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="The topic to reset. Unset: the input topic.", show_default=False)] = None,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this partition; may be repeated.", show_default=False)
    ] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="Apply the change. Without this flag the command only shows what it would do.")
    ] = False,
) -> None:
    """Move the committed offsets of the group: back to process records again, or forward to skip records.

    Stop the workers of the group first: the brokers refuse the change while the group has members. Without --execute nothing
    changes.

    Records after a reset to an earlier offset are processed again, and their outputs are published again, with the same ids. This
    is also true with GIST_DELIVERY=exactly_once.
    """
    target = Target(earliest=to_earliest, latest=to_latest, offset=to_offset, timestamp=to_timestamp, duration=by_duration)
    asyncio.run(_reset(settings, target, topic=topic or require_one_topic(settings), partitions=partition or (), executes=execute))


async def _reset(settings: Settings, target: Target, *, topic: str, partitions: Sequence[int], executes: bool) -> None:
    connection, console = build_connection(settings), Terminal(soft_wrap=True)
    await check_group_access(connection, [topic], settings.group_id, "Read" if executes else "Describe")
    group, offsets = await fetch_group_offsets(connection, topic, settings.group_id)
    if unknown := sorted(set(partitions) - {offset.partition.index for offset in offsets}):
        raise BadSettings(f"{topic} has no partition {unknown[0]}: its partitions are 0 to {len(offsets) - 1}")
    chosen = [offset for offset in offsets if not partitions or offset.partition.index in partitions]
    targets = await _find_targets(connection, chosen, target)
    for offset, new in zip(chosen, targets, strict=True):
        committed = "none" if offset.committed is None else offset.committed
        console.print(f"{offset.partition}: {committed} → {new}{_describe_effect(offset, new)}")
    if any(new < offset.start for offset, new in zip(chosen, targets, strict=True)):
        console.print(_build_warning(settings))
    if not executes:
        members = (
            f" The group has {count_noun(len(group.members), 'live member')}: stop its workers first." if group.members else ""
        )
        console.print(f"Nothing is changed yet: add --execute.{members}")
        return
    await commit_offsets(
        connection, settings.group_id, {offset.partition: new for offset, new in zip(chosen, targets, strict=True)}
    )
    console.print(f"The offsets of the group {settings.group_id} are changed.")


async def _find_targets(connection: Connection, chosen: Sequence[GroupOffset], target: Target) -> list[int]:
    since_ms = target.since_ms(round(time.time() * 1000))
    if since_ms is None:
        return [target.within(offset) for offset in chosen]
    # Kafka has no timestamps before 1970.
    found = await find_offsets_since(connection, [offset.partition for offset in chosen], max(0, since_ms))
    return [offset.ends.end if (since := found[offset.partition]) is None else since for offset in chosen]


def _describe_effect(offset: GroupOffset, new: int) -> str:
    num_repeated = offset.start - new
    if num_repeated > 0:
        return f"  (back: {count_noun(num_repeated, 'offset')} to process again)"
    if num_repeated < 0:
        return f"  (forward: {count_noun(-num_repeated, 'offset')} to skip)"
    return "" if offset.committed is None else "  (no change)"


def _build_warning(settings: Settings) -> str:
    again = "The records are processed again, and their outputs are published again, with the same ids"
    if settings.delivery == "exactly_once":
        return f"{again}: exactly once holds between two resets, not across a reset."
    return f"{again}."
