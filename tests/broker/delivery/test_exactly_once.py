"""Exactly-once delivery on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest

from tests.integration.support.raw import configure
from tests.integration.support.reading import read_all, until_committed
from worker.broker.admin.topics import create_missing
from worker.broker.consumer.consumer import Consumer
from worker.broker.delivery.exactly_once import ExactlyOnce, check_transactions
from worker.broker.patches.unanswered_requests import watch_unanswered_requests
from worker.broker.tools.clients import open_producer
from worker.errors import BrokerUnavailable, PublishFailed, RecordRefused
from worker.records import Message, Outcome, Output, Partition, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka

NUM_RECORDS = 10


class _Listener:
    """Records the assigned partitions."""

    def __init__(self) -> None:
        self.partitions: set[Partition] = set()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Add the partitions."""
        self.partitions |= set(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Remove the partitions."""
        self.partitions -= set(partitions)

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Treat the loss as a revocation."""
        await self.revoked(partitions)


@pytest.fixture
async def home(connection: Connection, topic: str) -> Partition:
    """Return a partition with some records whose output topics exist."""
    await create_missing(connection, dict.fromkeys([topic, f"{topic}.embeddings", f"{topic}.dlq"], 1))
    async with open_producer(connection) as producer:
        for number in range(NUM_RECORDS):
            await producer.send(topic, b"%d" % number, partition=0)
    return Partition(topic, 0)


@contextlib.asynccontextmanager
async def owning(connection: Connection, home: Partition, **options: Any) -> AsyncIterator[ExactlyOnce]:
    """Yield the delivery of a worker that owns the partition."""
    topics = {home.topic: {Output.EMBEDDINGS: f"{home.topic}.embeddings", Output.DEAD_LETTERS: f"{home.topic}.dlq"}}
    group_id = f"group-{home.topic}"
    consumer = Consumer(connection, topics=[home.topic], group_id=group_id, on_event=lambda event, **fields: None)  # noqa: ARG005
    delivery = ExactlyOnce(
        consumer, connection, topics=topics, group_id=group_id, **{"fenced_pause_s": 0.1, "compression": None} | options
    )
    listener = _Listener()
    try:
        await delivery.start()
        await consumer.start(listener)
        while home not in listener.partitions:
            await consumer.poll([], max_records=1)
        yield delivery
    finally:
        await delivery.stop()
        await consumer.stop()


def outcomes(home: Partition, first: int, count: int, value: bytes = b"v") -> list[Outcome]:
    """Return outcomes of consecutive records, each with one message that carries the offset as its key."""
    return [
        Outcome(Record(home, offset, b"k", b""), (Message(Output.EMBEDDINGS, b"%d" % offset, value),))
        for offset in range(first, first + count)
    ]


async def keys(connection: Connection, home: Partition) -> list[int]:
    """Return the source offsets of the visible outputs."""
    return [int(record.key) for record in await read_all(connection, f"{home.topic}.embeddings")]


async def wait_until_committed(connection: Connection, home: Partition, offset: int) -> None:
    """Wait until the group has committed the offset."""
    await until_committed(connection, f"group-{home.topic}", home, offset)


def fail_once(delivery: ExactlyOnce, home: Partition, kind: type, *, is_sent: bool) -> None:
    """Let the next request of a kind time out. With `is_sent` the broker receives the request."""
    client = delivery._producers[home]._client.client
    send, left = client.send, [1]

    async def failing(node_id: int, request: object, **options: Any) -> Any:
        if isinstance(request, kind) and left[0]:
            left[0] -= 1
            if is_sent:
                await send(node_id, request, **options)
            raise RequestTimedOutError
        return await send(node_id, request, **options)

    client.send = failing
    watch_unanswered_requests(client, delivery._producers[home].mark_doubtful)


async def test_brokers_that_refuse_the_transactions_fail_the_start(connection: Connection) -> None:
    """Here the transaction timeout is over the broker's limit."""
    with pytest.raises(BrokerUnavailable, match=r"refuses transactions: .*(?i:timeout)") as caught:
        await check_transactions(connection, group_id="g", transaction_timeout_s=100_000)
    assert "\n" not in str(caught.value)


async def test_outputs_and_offset_become_visible_together(connection: Connection, home: Partition) -> None:
    async with owning(connection, home) as delivery:
        assert await delivery.open(home) == 0
        for first in (0, 4, 7):
            await delivery.publish(home, outcomes(home, first, 3 if first else 4))
            next_offset = first + (3 if first else 4)
            assert await keys(connection, home) == list(range(next_offset))
            await wait_until_committed(connection, home, next_offset)


async def test_the_committed_offset_is_read_after_a_probe_is_acknowledged(
    connection: Connection, home: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new coordinator may report an offset that is seconds old. The probe does not change the committed offset."""
    sent: list[str] = []
    send = AIOKafkaClient.send

    async def noted(client: AIOKafkaClient, node_id: int, request: object, **options: Any) -> Any:
        sent.append(type(request).__name__.removesuffix("Request").removeprefix("_"))
        return await send(client, node_id, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await delivery.publish(home, outcomes(home, 0, 3))
        await delivery.forget(home)
        sent.clear()
        assert await delivery.open(home) == 3
        order = ["InitProducerId", "AddOffsetsToTxn", "TxnOffsetCommit", "OffsetFetch", "EndTxn"]
        assert [name for name in sent if name in order] == order
        await wait_until_committed(connection, home, 3)


async def test_a_new_owner_fences_the_last_one(connection: Connection, home: Partition) -> None:
    """Later outputs of the last owner stay invisible, and its offset is not committed."""
    async with owning(connection, home) as last:
        await last.open(home)
        await last.publish(home, outcomes(home, 0, 2))
        await last._producers[home].begin(5)
        await last._producers[home].send([last._outputs.route(home, outcomes(home, 2, 1)[0].messages[0])], 5)
        # The group still takes the last one for the owner, as it does with one that was suspended.
        next_owner = ExactlyOnce(
            last._consumer, connection, topics=last._outputs._topics, group_id=f"group-{home.topic}", compression=None
        )
        await next_owner.start()
        assert await next_owner.open(home) == 2
        await next_owner.publish(home, outcomes(home, 2, 3))
        with pytest.raises(PublishFailed, match="in doubt"):
            await last.publish(home, outcomes(home, 2, 4))
        assert await keys(connection, home) == [0, 1, 2, 3, 4]
        await wait_until_committed(connection, home, 5)
        await next_owner.stop()


async def test_a_fenced_owner_continues_at_the_committed_offset(connection: Connection, home: Partition) -> None:
    """It waits for `fenced_pause_s` first."""
    async with owning(connection, home) as first:
        await first.open(home)
        second = ExactlyOnce(first._consumer, connection, topics=first._outputs._topics, group_id=f"group-{home.topic}")
        await second.start()
        await second.open(home)
        await second.publish(home, outcomes(home, 0, 3))
        with pytest.raises(PublishFailed):
            await first.publish(home, outcomes(home, 0, 3))
        assert home in first._fenced
        await first.forget(home)
        assert await first.open(home) == 3
        assert home not in first._fenced
        with pytest.raises(PublishFailed):
            await second.publish(home, outcomes(home, 3, 1))
        await first.publish(home, outcomes(home, 3, 2))
        assert await keys(connection, home) == [0, 1, 2, 3, 4]
        await second.stop()


async def test_a_refused_message_is_named_and_its_transaction_stays_invisible(connection: Connection, home: Partition) -> None:
    """The limit of the topic was lowered after the description. The other messages are published once."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await configure(connection, f"{home.topic}.embeddings", {"max.message.bytes": "3000"})
        guilty = outcomes(home, 1, 1, b"x" * 10_000)
        with pytest.raises(RecordRefused) as caught:
            await delivery.publish(home, [*outcomes(home, 0, 1), *guilty, *outcomes(home, 2, 1)])
        assert (caught.value.offset, caught.value.output) == (1, Output.EMBEDDINGS)
        await delivery.publish(home, [*outcomes(home, 0, 1), Outcome(guilty[0].source), *outcomes(home, 2, 1)])
        assert await keys(connection, home) == [0, 2]
        await wait_until_committed(connection, home, 3)


async def test_messages_that_are_refused_only_as_a_batch_are_sent_one_at_a_time(connection: Connection, home: Partition) -> None:
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await configure(connection, f"{home.topic}.embeddings", {"max.message.bytes": "3000"})
        await delivery.publish(home, outcomes(home, 0, 5, b"x" * 1_000))
        assert await keys(connection, home) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("is_sent", [True, False])
async def test_a_producer_with_an_unanswered_request_is_replaced(connection: Connection, home: Partition, *, is_sent: bool) -> None:
    """The client repeats the request with success. The next transaction has a new epoch, so a late request cannot change it."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        before = delivery._producers[home]
        fail_once(delivery, home, AddPartitionsToTxnRequest, is_sent=is_sent)
        await delivery.publish(home, outcomes(home, 0, 2))
        assert before.is_doubtful
        await delivery.publish(home, outcomes(home, 2, 2))
        assert delivery._producers[home] is not before
        assert await keys(connection, home) == [0, 1, 2, 3]


async def test_a_replaced_producer_fails_if_another_owner_has_committed(connection: Connection, home: Partition) -> None:
    """It would fence the present owner and repeat its outputs."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        fail_once(delivery, home, EndTxnRequest, is_sent=True)
        with contextlib.suppress(PublishFailed):
            await delivery.publish(home, outcomes(home, 0, 2))
        other = ExactlyOnce(delivery._consumer, connection, topics=delivery._outputs._topics, group_id=f"group-{home.topic}")
        await other.start()
        start = await other.open(home)
        await other.publish(home, outcomes(home, start, 3))
        with pytest.raises(PublishFailed):
            await delivery.publish(home, outcomes(home, 2, 2))
        assert await keys(connection, home) == list(range(start + 3))
        await other.stop()


async def test_a_cancelled_publication_is_visible_completely_or_not_at_all(connection: Connection, home: Partition) -> None:
    """The next session starts exactly after it."""
    async with owning(connection, home) as delivery:
        start = await delivery.open(home)
        for num_steps in range(0, 60, 6):
            publishing = asyncio.create_task(delivery.publish(home, outcomes(home, start, 1)))
            for _ in range(num_steps):
                await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await delivery.forget(home)
            start = await delivery.open(home)
            assert await keys(connection, home) == list(range(start))


async def test_nothing_is_published_for_a_partition_that_is_not_open(connection: Connection, home: Partition) -> None:
    """A second `forget` is no error."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await delivery.forget(home)
        await delivery.forget(home)
        with pytest.raises(PublishFailed, match="not open"):
            await delivery.publish(home, outcomes(home, 0, 1))
        await wait_until_committed(connection, home, 0)
