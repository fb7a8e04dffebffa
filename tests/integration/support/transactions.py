"""Write to a topic in transactions."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from worker.broker.connection.connection import Connection
    from worker.records import Partition


@contextlib.asynccontextmanager
async def transaction(connection: Connection, name: str, *, is_commit: bool = True) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer with an open transaction, which is committed or aborted at the end."""
    async with AIOKafkaProducer(bootstrap_servers=connection.bootstrap_servers, transactional_id=name) as producer:
        await producer.begin_transaction()
        yield producer
        await (producer.commit_transaction() if is_commit else producer.abort_transaction())


async def write(
    connection: Connection, name: str, partition: Partition, values: Sequence[bytes], *, is_commit: bool = True
) -> None:
    """Write values to a partition in one transaction."""
    async with transaction(connection, name, is_commit=is_commit) as producer:
        for number, value in enumerate(values):
            await producer.send_and_wait(partition.topic, value, key=b"%d" % number, partition=partition.index)


async def write_marker(connection: Connection, name: str, partition: Partition, *, is_commit: bool = True) -> None:
    """Append the marker of a transaction that has no records in a partition."""
    async with transaction(connection, name, is_commit=is_commit) as producer:
        # There is no public way to add a partition without a record.
        producer._txn_manager.maybe_add_partition_to_txn(TopicPartition(partition.topic, partition.index))
