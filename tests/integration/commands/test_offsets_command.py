"""`gist-stream offsets` on a real Kafka."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from worker.broker.admin import topics
from worker.broker.admin.offsets import fetch_group_offsets
from worker.broker.tools.clients import join_group, open_producer
from worker.cli import app
from worker.commands.repair.offsets import Target
from worker.errors import BadSettings

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka

FIRST_MS = 1_700_000_000_000


async def _prepared(connection: Connection, topic: str) -> None:
    """Make a topic of two partitions with three records each, a second apart, of which the group has committed all."""
    await topics.create_missing(connection, {topic: 2})
    async with open_producer(connection, linger_ms=0) as producer:
        for number in range(6):
            await producer.send(topic, b"x", partition=number % 2, timestamp_ms=FIRST_MS + 1_000 * number)
    async with join_group(connection, topic, group_id=f"group-{topic}") as member:
        await member.take(6, timeout_s=30)
        await member.commit()


def _run(connection: Connection, topic: str, *arguments: str) -> str:
    flags = ["--bootstrap-servers", connection.bootstrap_servers, "--input-topic", topic, "--group-id", f"group-{topic}"]
    result = CliRunner().invoke(app, ["offsets", *arguments, *flags], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def _committed(connection: Connection, topic: str) -> list[int | None]:
    _, found = asyncio.run(fetch_group_offsets(connection, topic, f"group-{topic}"))
    return [partition.committed for partition in found]


def test_the_group_is_shown_and_set_anew_only_when_told_to(connection: Connection, topic: str) -> None:
    """Each kind of target resets the selected partitions, and the output names offsets that are processed again."""
    asyncio.run(_prepared(connection, topic))
    assert re.search(rf"{topic}-0 +3 +0 +3 +0 +-", _run(connection, topic, "show"))
    shown = _run(connection, topic, "reset", "--to-earliest", "--delivery", "exactly_once")
    assert f"{topic}-0: 3 → 0  (back: 3 offsets to process again)" in shown
    assert "exactly once holds between two resets, not across a reset" in shown
    assert "Nothing is changed yet" in shown
    assert _committed(connection, topic) == [3, 3]
    for arguments, expected in [
        (("--to-earliest",), [0, 0]),
        (("--to-timestamp", "2023-11-14T22:13:22Z"), [1, 1]),
        (("--to-offset", "2", "--partition", "1"), [1, 2]),
        (("--by-duration", "1h"), [3, 3]),
        (("--to-timestamp", "1900-01-01T00:00:00Z"), [0, 0]),
        (("--by-duration", "99999d", "--partition", "1"), [0, 0]),
        (("--to-offset", "99"), [3, 3]),
        (("--to-earliest", "--partition", "0"), [0, 3]),
        (("--to-latest",), [3, 3]),
    ]:
        assert "are changed" in _run(connection, topic, "reset", *arguments, "--execute")
        assert _committed(connection, topic) == expected


def test_a_group_without_offsets_starts_from_none(connection: Connection, topic: str) -> None:
    """`show` says that there is no such group yet, and `reset` names no effect."""
    asyncio.run(topics.create_missing(connection, {topic: 1}))
    assert "no such group yet" in _run(connection, topic, "show")
    shown = _run(connection, topic, "reset", "--to-earliest", "--execute")
    assert shown.splitlines() == [f"{topic}-0: none → 0", f"The offsets of the group group-{topic} are changed."]


def test_a_partition_that_is_not_there_is_named(connection: Connection, topic: str) -> None:
    """The offsets of all other partitions stay."""
    asyncio.run(_prepared(connection, topic))
    with pytest.raises(BadSettings, match="has no partition 7: its partitions are 0 to 1"):
        _run(connection, topic, "reset", "--to-earliest", "--partition", "0", "--partition", "7", "--execute")
    assert _committed(connection, topic) == [3, 3]


def test_exactly_one_target_is_required() -> None:
    """A reset without a target, or with two targets, is refused."""
    with pytest.raises(BadSettings, match="give exactly one of"):
        Target()
    with pytest.raises(BadSettings, match="give exactly one of"):
        Target(latest=True, offset=3)
