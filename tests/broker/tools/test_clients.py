"""The clients of the commands on a real Kafka."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from worker.broker.admin import topics
from worker.broker.tools.clients import follow, join_group, open_producer, open_transaction, read_to_end
from worker.records import Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


async def _sent(connection: Connection, topic: str, values: list[bytes]) -> None:
    async with open_producer(connection, linger_ms=0) as producer:
        for number, value in enumerate(values):
            await producer.send(topic, value, partition=number % 2, timestamp_ms=1_700_000_000_000 + number)


async def test_a_second_read_continues_at_the_end_of_the_first(connection: Connection, topic: str) -> None:
    """The timestamps are those of the producer."""
    await topics.create_missing(connection, {topic: 2})
    positions = {Partition(topic, 0): 0, Partition(topic, 1): 0}
    await _sent(connection, topic, [b"a", b"b", b"c"])
    first = [record async for records in read_to_end(connection, positions) for record in records]
    assert sorted((record.value, record.timestamp_ms) for record in first) == [
        (b"abc"[n : n + 1], 1_700_000_000_000 + n) for n in range(3)
    ]
    assert positions == {Partition(topic, 0): 2, Partition(topic, 1): 1}
    await _sent(connection, topic, [b"d"])
    assert [record.value async for records in read_to_end(connection, positions) for record in records] == [b"d"]


async def test_the_broker_may_replace_the_timestamps(connection: Connection, topic: str) -> None:
    await topics.create_missing(connection, {topic: 2}, configuration={"message.timestamp.type": "LogAppendTime"})
    await _sent(connection, topic, [b"a"])
    positions = {Partition(topic, 0): 0, Partition(topic, 1): 0}
    assert [
        record.timestamp_ms > 1_750_000_000_000 async for records in read_to_end(connection, positions) for record in records
    ] == [True]


async def test_a_member_takes_a_number_of_records_and_continues_where_it_committed(connection: Connection, topic: str) -> None:
    await topics.create_missing(connection, {topic: 2})
    await _sent(connection, topic, [b"%d" % number for number in range(10)])
    taken = []
    for _ in range(2):
        async with join_group(connection, topic, group_id=f"group-{topic}") as member:
            records = await member.take(5, timeout_s=30)
            assert len(records) == 5
            taken += [record.value for record in records]
            await member.commit()
    assert sorted(taken, key=lambda value: int(value or b"")) == [b"%d" % number for number in range(10)]


async def test_the_records_of_a_transaction_become_visible_together(connection: Connection, topic: str) -> None:
    """Records of another topic are visible meanwhile."""
    open_topic = f"{topic}-open"
    await topics.create_missing(connection, {topic: 1, open_topic: 1})
    seen: list[bytes | None] = []
    async with contextlib.aclosing(follow(connection, [topic, open_topic], from_beginning=True)) as arriving:
        async with open_transaction(connection, name=topic) as producer:
            for number in range(5):
                await producer.send(topic, b"%d" % number)
            await producer.flush()
            await _sent_one(connection, open_topic)
            while not seen:
                seen += [record.value for record in await anext(arriving)]
            assert seen == [b"open"]
        while len(seen) < 6:
            seen += [record.value for record in await anext(arriving)]
    assert seen == [b"open", b"0", b"1", b"2", b"3", b"4"]


async def _sent_one(connection: Connection, topic: str) -> None:
    async with open_producer(connection) as producer:
        await producer.send(topic, b"open")
