"""The offsets of a group, on a real Kafka."""

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
    """Return a topic of two partitions with four and three records, with timestamps one second apart."""
    await topics.create_missing(connection, {topic: 2})
    async with open_producer(connection, linger_ms=0) as producer:
        for number in range(7):
            await producer.send(topic, b"x", partition=number % 2, timestamp_ms=FIRST_MS + 1_000 * number)
    return topic


async def test_the_lag_of_an_unknown_group_is_the_whole_topic(connection: Connection, filled: str) -> None:
    group, found = await fetch_group_offsets(connection, filled, f"group-{filled}")
    assert group.members == ()
    assert [(offset.committed, offset.ends.first, offset.ends.end, offset.lag, offset.owner) for offset in found] == [
        (None, 0, 4, 4, None),
        (None, 0, 3, 3, None),
    ]


async def test_the_offsets_of_a_group_with_members_cannot_be_changed(connection: Connection, filled: str) -> None:
    """The description names the members and their partitions. After the last member has left, the commit succeeds."""
    group_id = f"group-{filled}"
    async with join_group(connection, filled, group_id=group_id) as member:
        await member.take(7, timeout_s=30)
        await member.commit()
        group, found = await fetch_group_offsets(connection, filled, group_id)
        assert group.state == "Stable"
        assert [(offset.committed, offset.lag) for offset in found] == [(4, 0), (3, 0)]
        assert [str(offset.owner).split("@")[0] for offset in found] == [connection.client_id] * 2
        with pytest.raises(BadSettings, match="has live members") as caught:
            await commit_offsets(connection, group_id, {Partition(filled, 0): 1})
        assert "\n" not in str(caught.value)
    await commit_offsets(connection, group_id, {Partition(filled, 0): 1})
    _, found = await fetch_group_offsets(connection, filled, group_id)
    assert [(offset.committed, offset.lag, offset.owner) for offset in found] == [(1, 3, None), (3, 0, None)]


async def test_a_timestamp_finds_the_first_record_that_is_not_older(connection: Connection, filled: str) -> None:
    """The offset is None if all records are older."""
    partitions = [Partition(filled, 0), Partition(filled, 1)]
    assert await find_offsets_since(connection, partitions, FIRST_MS + 3_500) == {partitions[0]: 2, partitions[1]: 2}
    assert await find_offsets_since(connection, partitions, FIRST_MS + 5_500) == {partitions[0]: 3, partitions[1]: None}


async def test_records_of_an_open_transaction_do_not_count_as_lag(connection: Connection, filled: str) -> None:
    partition = Partition(filled, 0)
    async with open_transaction(connection, name=f"open-{filled}") as producer:
        await producer.send(filled, b"y", partition=0)
        await producer.flush()
        assert (await fetch_log_bounds(connection, [partition]))[partition] == LogBounds(0, 4, 5)
        # A reader of uncommitted records may commit an offset after the last stable offset.
        for committed, start, lag in ((5, 5, 0), (6, 0, 4), (3, 3, 1)):
            await commit_offsets(connection, f"group-{filled}", {partition: committed})
            _, found = await fetch_group_offsets(connection, filled, f"group-{filled}")
            assert (found[0].start, found[0].lag) == (start, lag)


async def test_the_error_names_a_missing_topic(connection: Connection, topic: str) -> None:
    with pytest.raises(
        TopicsMissing, match=rf"there is no topic {topic} at .*: is the name in GIST_INPUT_TOPIC right\? If so, create it with"
    ):
        await fetch_group_offsets(connection, topic, "g")
