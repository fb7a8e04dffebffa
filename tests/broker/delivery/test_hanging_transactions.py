"""Hanging transactions on a real Kafka, whose checks of transactions are turned off."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from tests.broker.delivery.test_exactly_once import outcomes, owning
from tests.integration.support.raw import configure_broker
from tests.integration.support.reading import read_all
from worker.broker.admin.topics import create_missing
from worker.broker.delivery.hanging_transactions import HangingTransactions
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.broker.tools.clients import open_producer
from worker.records import Message, Output, Partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka

# Runs a transaction of the owner that stays incomplete. Raises `KafkaError` if the broker checks the transaction.
LeaveHanging: TypeAlias = "Callable[[TransactionalProducer], Awaitable[None]]"


@pytest.fixture
async def home(connection: Connection, topic: str) -> Partition:
    """Return a partition with ten records whose output topics exist."""
    await create_missing(connection, dict.fromkeys([topic, f"{topic}.embeddings", f"{topic}.dlq"], 1))
    async with open_producer(connection) as producer:
        for number in range(10):
            await producer.send(topic, b"%d" % number, partition=0)
    return Partition(topic, 0)


@contextlib.asynccontextmanager
async def hanging_transaction(connection: Connection, home: Partition, leave_hanging: LeaveHanging) -> AsyncIterator[None]:
    """Run an incomplete transaction of the partition's owner before the block, with the broker's checks turned off."""
    await configure_broker(connection, {"transaction.partition.verification.enable": "false"})
    try:
        producer = None
        # The broker applies the new setting a moment later. Until then it refuses the transaction, and the producer is replaced.
        while producer is None:
            producer = await _owner(connection, home)
            try:
                await leave_hanging(producer)
            except KafkaError:
                await producer.discard()
                producer = None
        try:
            yield
        finally:
            await producer.discard()
    finally:
        await configure_broker(connection, {"transaction.partition.verification.enable": "true"})


async def _owner(connection: Connection, home: Partition) -> TransactionalProducer:
    producer = TransactionalProducer(
        connection,
        transactional_id=f"gist-stream:group-{home.topic}:{home.topic}:0",
        transaction_timeout_s=10,
        compression=None,
        max_bytes={f"{home.topic}.embeddings": 1_000_000},
    )
    await producer.start(10)
    return producer


def outputs(home: Partition, *, committed: int) -> LeaveHanging:
    """Return a function that leaves the outputs of records 0 to 4 in a hanging transaction, after a commit of `committed`."""

    async def leave_hanging(producer: TransactionalProducer) -> None:
        await producer.begin(5)
        if committed:
            await producer.send_offset(home, committed, f"group-{home.topic}", 5)
        await producer.commit(5)
        await producer.begin(5)
        # The coordinator does not know the partition, so it does not write a marker there.
        producer._client._txn_manager._txn_partitions.add(TopicPartition(f"{home.topic}.embeddings", 0))
        await producer.send(_sent(home), 5)

    return leave_hanging


def offset(home: Partition, *, is_commit: bool) -> LeaveHanging:
    """Return a function that commits or aborts the outputs of records 0 to 4 and leaves their offset unstable."""

    async def leave_hanging(producer: TransactionalProducer) -> None:
        await producer.begin(5)
        await producer.send(_sent(home), 5)
        # The transaction coordinator does not know the offset, so the group coordinator gets no marker.
        producer._client._txn_manager.consumer_group_added(f"group-{home.topic}")
        await producer.send_offset(home, 5, f"group-{home.topic}", 5)
        await (producer.commit(5) if is_commit else producer._client.abort_transaction())

    return leave_hanging


def _sent(home: Partition) -> list[tuple[str, int, Message]]:
    return [(f"{home.topic}.embeddings", 0, build_output(home, offset, b"first")) for offset in range(5)]


def build_output(home: Partition, offset: int, value: bytes) -> Message:
    """Return an output with the headers of its source."""
    headers = {"topic": home.topic, "partition": str(home.index), "offset": str(offset)}
    return Message(
        Output.EMBEDDINGS, b"%d" % offset, value, tuple((f"gist-source-{name}", value.encode()) for name, value in headers.items())
    )


@pytest.mark.parametrize("committed", [0, 5])
async def test_a_hanging_transaction_ends_as_its_offset_did(connection: Connection, home: Partition, *, committed: int) -> None:
    """Its outputs are aborted and published again if the offset was not committed, and committed if it was."""
    async with hanging_transaction(connection, home, outputs(home, committed=committed)), owning(connection, home) as delivery:
        assert await delivery.open(home) == committed
        await delivery.publish(home, outcomes(home, committed, 3, b"second"))
    values = [record.value for record in await read_all(connection, f"{home.topic}.embeddings")]
    assert values == ([b"first"] * 5 if committed else []) + [b"second"] * 3


@pytest.mark.parametrize("is_commit", [False, True])
async def test_an_unstable_offset_ends_as_its_outputs_did(connection: Connection, home: Partition, *, is_commit: bool) -> None:
    """The offset is committed if the outputs are visible, even if aborted records of another producer follow."""
    async with hanging_transaction(connection, home, offset(home, is_commit=is_commit)), owning(connection, home) as delivery:
        await abort_output(connection, f"{home.topic}.embeddings")
        assert await delivery.open(home) == (5 if is_commit else 0)
        await delivery.publish(home, outcomes(home, 5 if is_commit else 0, 3, b"second"))
        assert await delivery.open(home) == (8 if is_commit else 3)
    values = [record.value for record in await read_all(connection, f"{home.topic}.embeddings")]
    assert values == ([b"first"] * 5 if is_commit else []) + [b"second"] * 3


async def abort_output(connection: Connection, topic: str) -> None:
    """Abort a transaction of another producer in a topic."""
    other = TransactionalProducer(
        connection, transactional_id=f"other-{topic}", transaction_timeout_s=10, compression=None, max_bytes={topic: 1_000_000}
    )
    await other.start(10)
    await other.begin(5)
    await other.send([(topic, 0, Message(Output.EMBEDDINGS, b"k", b"aborted"))], 5)
    await other._client.abort_transaction()
    await other.discard()


async def test_only_hanging_outputs_of_the_source_are_found(connection: Connection, home: Partition) -> None:
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await delivery.publish(home, outcomes(home, 0, 3))
    target, other = Partition(f"{home.topic}.embeddings", 0), Partition("other", 0)
    hanging = HangingTransactions(connection)
    await hanging.start([target.topic])
    try:
        # The first search waits for no metadata.
        for consumer in (hanging._committed, hanging._uncommitted):
            assert consumer._client.cluster.leader_for_partition(TopicPartition(target.topic, 0)) is not None
        await read_all(connection, target.topic)
        assert await hanging.find(home, [target], 5) == {}
        async with hanging_transaction(connection, home, outputs(home, committed=0)):
            assert await hanging.find(home, [target], 5) == {target: 4}
            assert await hanging.find(other, [target], 5) == {}
            # The outputs of the hanging transaction are not visible.
            assert await hanging.find_visible_end(home, [target], 0, 5) is None
    finally:
        await hanging.stop()
