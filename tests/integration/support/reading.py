"""Read the present records of a topic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord

    from worker.broker.connection.connection import Connection
    from worker.records import Partition


async def read_all(connection: Connection, topic: str, *, partition: int = 0) -> list[ConsumerRecord]:
    """Return all records of a partition, once none of its transactions is open."""
    where = TopicPartition(topic, partition)
    async with _reader(connection, "read_committed") as client, _reader(connection, "read_uncommitted") as log:
        client.assign([where])
        await client.seek_to_beginning(where)
        end = (await log.end_offsets([where]))[where]
        # A broker answers the end of a transaction a little before its readers see it.
        while (await client.end_offsets([where]))[where] < end:  # noqa: ASYNC110  the broker tells nobody
            await asyncio.sleep(0.01)
        records: list[ConsumerRecord] = []
        while await client.position(where) < end:
            records += (await client.getmany(where, timeout_ms=500)).get(where, [])
        return records


def _reader(connection: Connection, isolation_level: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers, isolation_level=isolation_level, enable_auto_commit=False
    )


async def committed(connection: Connection, group_id: str, partitions: Sequence[Partition]) -> list[int]:
    """Return the committed offset of each partition; 0 without one."""
    async with AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers, group_id=group_id, enable_auto_commit=False
    ) as client:
        return [await client.committed(TopicPartition(partition.topic, partition.index)) or 0 for partition in partitions]


async def until_first_commit(connection: Connection, group_id: str, partitions: Sequence[Partition]) -> None:
    """Wait until a group has committed an offset of any partition; the time limit of the test ends the wait."""
    while not any(await committed(connection, group_id, partitions)):  # noqa: ASYNC110  a broker has no event to wait for
        await asyncio.sleep(0.01)


async def until_committed(connection: Connection, group_id: str, partition: Partition, offset: int) -> None:
    """Wait until a group has committed an offset; the time limit of the test ends the wait."""
    while await committed(connection, group_id, [partition]) != [offset]:  # noqa: ASYNC110  the same
        await asyncio.sleep(0.01)
