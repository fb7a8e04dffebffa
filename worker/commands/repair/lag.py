"""Show how far the group is behind, as the brokers know it: for people, or for whatever reads JSON."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from rich.table import Table

from worker.broker.admin.offsets import fetch_group_offsets
from worker.commands.terminal import Terminal, json_line
from worker.composition.broker import build_connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.admin.offsets import GroupDescription, GroupOffset
    from worker.settings import Settings


def lag(settings: Settings, *, is_json: bool) -> None:
    """Print committed offset, end and lag of each partition, and their sum; no worker need run."""
    group, found = asyncio.run(_standings(settings))
    if is_json:
        sys.stdout.write(as_json(settings, group, found) + "\n")
        return
    console = Terminal()
    console.print(f"group {settings.group_id}: {group.state.lower()}, {len(group.members)} members")
    console.print(_table(found))


async def _standings(settings: Settings) -> tuple[GroupDescription, list[GroupOffset]]:
    """Return the group, and where it stands in all input topics."""
    found: list[GroupOffset] = []
    for topic in settings.input_topics:
        group, standing = await fetch_group_offsets(build_connection(settings), topic, settings.group_id)
        found += standing
    return group, found


def as_json(settings: Settings, group: GroupDescription, found: Sequence[GroupOffset]) -> str:
    """Return one object: the group, and a list of its partitions; null where nothing is committed, or nobody reads."""
    partitions = [
        {
            "topic": it.partition.topic,
            "partition": it.partition.index,
            "committed": it.committed,
            "end": it.ends.end,
            "lag": it.lag,
            "owner": None if it.owner is None else str(it.owner),
        }
        for it in found
    ]
    return json_line(
        {
            "group": settings.group_id,
            "state": group.state,
            "members": len(group.members),
            "lag": sum(it.lag for it in found),
            "partitions": partitions,
        }
    )


def _table(found: Sequence[GroupOffset]) -> Table:
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("partition", footer="all", overflow="fold")
    for name, footer in (("committed", ""), ("end", ""), ("lag", str(sum(it.lag for it in found)))):
        table.add_column(name, footer=footer, justify="right", no_wrap=True)
    table.add_column("owner", overflow="fold")
    for it in found:
        committed = "-" if it.committed is None else str(it.committed)
        table.add_row(str(it.partition), committed, str(it.ends.end), str(it.lag), str(it.owner or "-"))
    return table
