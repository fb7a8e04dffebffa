"""What a broker forgot to end, on a real Kafka that was made to forget: it is ended as its offset was, and nothing comes twice."""

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

# Does what an owner does, so that something of it is forgotten. Raises `KafkaError` where the broker will not have it.
Forget: TypeAlias = "Callable[[TransactionalProducer], Awaitable[None]]"


@pytest.fixture
async def home(connection: Connection, topic: str) -> Partition:
    """Give a partition with ten records, and its output topics."""
    await create_missing(connection, dict.fromkeys([topic, f"{topic}.embeddings", f"{topic}.dlq"], 1))
    async with open_producer(connection) as producer:
        for number in range(10):
            await producer.send(topic, b"%d" % number, partition=0)
    return Partition(topic, 0)


@contextlib.asynccontextmanager
async def forgetting(connection: Connection, home: Partition, forget: Forget) -> AsyncIterator[None]:
    """Give a broker that has forgotten something of the partition's owner."""
    await configure_broker(connection, {"transaction.partition.verification.enable": "false"})
    try:
        producer = None
        # The broker takes over its new configuration a moment later; until then it refuses what follows, and the producer with it.
        while producer is None:
            producer = await _owner(connection, home)
            try:
                await forget(producer)
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


def outputs(home: Partition, *, committed: int) -> Forget:
    """Return what leaves the outputs of records 0 to 4 in a transaction that nobody ends, of an owner who had committed so far."""

    async def forget(producer: TransactionalProducer) -> None:
        await producer.begin(5)
        if committed:
            await producer.send_offset(home, committed, f"group-{home.topic}", 5)
        await producer.commit(5)
        await producer.begin(5)
        # The coordinator is not told of the partition, and so will not end it.
        producer._client._txn_manager._txn_partitions.add(TopicPartition(f"{home.topic}.embeddings", 0))
        await producer.send(_sent(home), 5)

    return forget


def offset(home: Partition, *, is_commit: bool) -> Forget:
    """Return what publishes records 0 to 4, or gives them up, in a transaction whose offset nobody commits."""

    async def forget(producer: TransactionalProducer) -> None:
        await producer.begin(5)
        await producer.send(_sent(home), 5)
        # The coordinator of transactions is not told of the offset, and so the group's will not be.
        producer._client._txn_manager.consumer_group_added(f"group-{home.topic}")
        await producer.send_offset(home, 5, f"group-{home.topic}", 5)
        await (producer.commit(5) if is_commit else producer._client.abort_transaction())

    return forget


def _sent(home: Partition) -> list[tuple[str, int, Message]]:
    return [(f"{home.topic}.embeddings", 0, output_of(home, offset, b"left")) for offset in range(5)]


def output_of(home: Partition, offset: int, value: bytes) -> Message:
    """Return an output that names its source."""
    headers = {"topic": home.topic, "partition": str(home.index), "offset": str(offset)}
    return Message(
        Output.EMBEDDINGS, b"%d" % offset, value, tuple((f"gist-source-{name}", it.encode()) for name, it in headers.items())
    )


@pytest.mark.parametrize("committed", [0, 5])
async def test_what_hangs_is_ended_as_its_offset_was(connection: Connection, home: Partition, *, committed: int) -> None:
    """Given up where the offset was not committed, and done again; kept where it was."""
    async with forgetting(connection, home, outputs(home, committed=committed)), owning(connection, home) as delivery:
        assert await delivery.open(home) == committed
        await delivery.publish(home, outcomes(home, committed, 3, b"new"))
    values = [it.value for it in await read_all(connection, f"{home.topic}.embeddings")]
    assert values == ([b"left"] * 5 if committed else []) + [b"new"] * 3


@pytest.mark.parametrize("is_commit", [False, True])
async def test_an_offset_that_hangs_ends_as_its_outputs_did(connection: Connection, home: Partition, *, is_commit: bool) -> None:
    """Committed where they are visible, be it before those of others; given up where they were, and done again."""
    async with forgetting(connection, home, offset(home, is_commit=is_commit)), owning(connection, home) as delivery:
        await give_something_up(connection, f"{home.topic}.embeddings")
        assert await delivery.open(home) == (5 if is_commit else 0)
        await delivery.publish(home, outcomes(home, 5 if is_commit else 0, 3, b"new"))
        assert await delivery.open(home) == (8 if is_commit else 3)
    values = [it.value for it in await read_all(connection, f"{home.topic}.embeddings")]
    assert values == ([b"left"] * 5 if is_commit else []) + [b"new"] * 3


async def give_something_up(connection: Connection, topic: str) -> None:
    """Be another, who sends to a topic and takes it back."""
    other = TransactionalProducer(
        connection, transactional_id=f"other-{topic}", transaction_timeout_s=10, compression=None, max_bytes={topic: 1_000_000}
    )
    await other.start(10)
    await other.begin(5)
    await other.send([(topic, 0, Message(Output.EMBEDDINGS, b"k", b"given up"))], 5)
    await other._client.abort_transaction()
    await other.discard()


async def test_where_nothing_hangs_nothing_is_found(connection: Connection, home: Partition) -> None:
    """Neither is what belongs to another's records."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await delivery.publish(home, outcomes(home, 0, 3))
    place, other = Partition(f"{home.topic}.embeddings", 0), Partition("other", 0)
    hanging = HangingTransactions(connection)
    await hanging.start()
    try:
        await read_all(connection, place.topic)
        assert await hanging.find(home, [place], 5) == {}
        async with forgetting(connection, home, outputs(home, committed=0)):
            assert await hanging.find(home, [place], 5) == {place: 4}
            assert await hanging.find(other, [place], 5) == {}
            # What hangs is not visible; what was published is, to its last record.
            assert await hanging.find_visible_end(home, [place], 0, 5) is None
    finally:
        await hanging.stop()
