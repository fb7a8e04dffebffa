"""Read a topic as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from worker.broker.connection import Connection


async def read_all(connection: Connection, topic: str, *, partition: int = 0) -> list[ConsumerRecord]:
    """Return what a partition holds now, from its beginning to its end."""
    where = TopicPartition(topic, partition)
    async with AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers, isolation_level="read_committed", enable_auto_commit=False
    ) as client:
        client.assign([where])
        await client.seek_to_beginning(where)
        end = (await client.end_offsets([where]))[where]
        records: list[ConsumerRecord] = []
        while await client.position(where) < end:
            records += (await client.getmany(where, timeout_ms=500)).get(where, [])
        return records


async def committed(connection: Connection, group_id: str, topic: str, *, num_partitions: int) -> list[int]:
    """Return what a group has committed of each partition; 0 for nothing."""
    async with AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers, group_id=group_id, enable_auto_commit=False
    ) as client:
        return [await client.committed(TopicPartition(topic, index)) or 0 for index in range(num_partitions)]
