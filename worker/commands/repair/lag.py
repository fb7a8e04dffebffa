"""Show committed offsets and consumer lag, as the brokers report them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from worker.broker.admin.offsets import GroupOffset, check_group_access, fetch_group_offsets
from worker.commands.terminal import Terminal, json_line
from worker.composition.broker import build_connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.admin.groups import GroupDescription
    from worker.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def lag(settings: Settings, *, is_json: Json = False) -> None:
    """Show the consumer lag of each partition: the records between the committed offset and the end.

    The brokers know both, so no worker needs to run. Offsets are counted, not texts: markers of transactions have offsets, too.
    """
    print_offsets(settings, is_json=is_json, has_first=False)


def print_offsets(settings: Settings, *, is_json: bool, has_first: bool) -> None:
    """Print the offsets of the group, for people or as JSON; `has_first` adds the first offset of each log to the table."""
    group, offsets = asyncio.run(_fetch_offsets(settings))
    if is_json:
        sys.stdout.write(as_json(settings, group, offsets) + "\n")
        return
    console = Terminal()
    console.print(f"group {settings.group_id}: {group}")
    console.print(_table(offsets, has_first=has_first))


async def _fetch_offsets(settings: Settings) -> tuple[GroupDescription, list[GroupOffset]]:
    """Return the group, and its offsets in all input topics."""
    connection, offsets = build_connection(settings), list[GroupOffset]()
    await check_group_access(connection, settings.input_topics, settings.group_id)
    for topic in settings.input_topics:
        group, in_topic = await fetch_group_offsets(connection, topic, settings.group_id)
        offsets += in_topic
    return group, offsets


def as_json(settings: Settings, group: GroupDescription, offsets: Sequence[GroupOffset]) -> str:
    """Return one object: the group and its partitions; null for a partition without a committed offset or without an owner."""
    partitions = [
        {
            "topic": offset.partition.topic,
            "partition": offset.partition.index,
            "committed": offset.committed,
            "first": offset.ends.first,
            "end": offset.ends.end,
            "lag": offset.lag,
            "owner": None if offset.owner is None else str(offset.owner),
        }
        for offset in offsets
    ]
    return json_line(
        {
            "group": settings.group_id,
            "state": group.state,
            "protocol": group.protocol,
            "members": len(group.members),
            "classic_members": group.num_classic,
            "lag": sum(offset.lag for offset in offsets),
            "partitions": partitions,
        }
    )


def _table(offsets: Sequence[GroupOffset], *, has_first: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("partition", footer="all", overflow="fold")
    for name in ("committed", *(["first"] if has_first else []), "end"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lag", footer=str(sum(offset.lag for offset in offsets)), justify="right", no_wrap=True)
    table.add_column("owner", overflow="fold")
    for offset in offsets:
        committed = "-" if offset.committed is None else str(offset.committed)
        numbers = [committed, *([str(offset.ends.first)] if has_first else []), str(offset.ends.end), str(offset.lag)]
        table.add_row(str(offset.partition), *numbers, str(offset.owner or "-"))
    return table
