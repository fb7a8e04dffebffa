"""Where a group stands, on a real Kafka; and that nobody sets it anew while it is at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.broker.admin import topics
from worker.broker.admin.offsets import commit_offsets, fetch_group_offsets, fetch_log_bounds, find_offsets_since
from worker.broker.log_bounds import LogBounds
from worker.broker.tools.clients import join_group, open_producer, open_transaction
from worker.errors import BadSettings, TopicsMissing
from worker.records import Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka

FIRST_MS = 1_700_000_000_000


@pytest.fixture
async def filled(connection: Connection, topic: str) -> str:
    """Give a topic of two partitions with four and three records, a second apart."""
    await topics.create_missing(connection, {topic: 2})
    async with open_producer(connection, linger_ms=0) as producer:
        for number in range(7):
            await producer.send(topic, b"x", partition=number % 2, timestamp_ms=FIRST_MS + 1_000 * number)
    return topic


async def test_a_group_that_was_never_there_lags_by_the_whole_topic(connection: Connection, filled: str) -> None:
    """It has committed nothing, and nobody owns anything."""
    group, found = await fetch_group_offsets(connection, filled, f"group-{filled}")
    assert group.members == ()
    assert [(it.committed, it.ends.first, it.ends.end, it.lag, it.owner) for it in found] == [
        (None, 0, 4, 4, None),
        (None, 0, 3, 3, None),
    ]


async def test_a_member_owns_what_it_reads_and_may_not_be_overruled(connection: Connection, filled: str) -> None:
    """Its group is described with its place, and cannot be set anew before it has left."""
    group_id = f"group-{filled}"
    async with join_group(connection, filled, group_id=group_id) as member:
        await member.take(7, timeout_s=30)
        await member.commit()
        group, found = await fetch_group_offsets(connection, filled, group_id)
        assert group.state == "Stable"
        assert [(it.committed, it.lag) for it in found] == [(4, 0), (3, 0)]
        assert [str(it.owner).split("@")[0] for it in found] == [connection.client_id] * 2
        with pytest.raises(BadSettings, match="has live members") as caught:
            await commit_offsets(connection, group_id, {Partition(filled, 0): 1})
        assert "\n" not in str(caught.value)
    await commit_offsets(connection, group_id, {Partition(filled, 0): 1})
    _, found = await fetch_group_offsets(connection, filled, group_id)
    assert [(it.committed, it.lag, it.owner) for it in found] == [(1, 3, None), (3, 0, None)]


async def test_a_moment_is_the_first_record_that_is_not_older(connection: Connection, filled: str) -> None:
    """None where all are older."""
    partitions = [Partition(filled, 0), Partition(filled, 1)]
    assert await find_offsets_since(connection, partitions, FIRST_MS + 3_500) == {partitions[0]: 2, partitions[1]: 2}
    assert await find_offsets_since(connection, partitions, FIRST_MS + 5_500) == {partitions[0]: 3, partitions[1]: None}


async def test_the_end_is_what_is_committed(connection: Connection, filled: str) -> None:
    """Records of an open transaction do not count yet."""
    place = Partition(filled, 0)
    async with open_transaction(connection, name=f"open-{filled}") as producer:
        await producer.send(filled, b"y", partition=0)
        await producer.flush()
        assert (await fetch_log_bounds(connection, [place]))[place] == LogBounds(0, 4, 5)
        # A reader of uncommitted records commits behind the end.
        for committed, start, lag in ((5, 5, 0), (6, 0, 4), (3, 3, 1)):
            await commit_offsets(connection, f"group-{filled}", {place: committed})
            _, found = await fetch_group_offsets(connection, filled, f"group-{filled}")
            assert (found[0].start, found[0].lag) == (start, lag)


async def test_a_topic_that_is_not_there_is_named(connection: Connection, topic: str) -> None:
    """In one line."""
    with pytest.raises(TopicsMissing, match=f"there is no topic {topic} at"):
        await fetch_group_offsets(connection, topic, "g")
