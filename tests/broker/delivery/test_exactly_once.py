"""Publishing exactly once on a real Kafka: together with the offset or not at all, whoever dies, and whoever comes next."""

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
    """Notes what is assigned."""

    def __init__(self) -> None:
        self.partitions: set[Partition] = set()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Note them."""
        self.partitions |= set(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Forget them."""
        self.partitions -= set(partitions)


@pytest.fixture
async def home(connection: Connection, topic: str) -> Partition:
    """Give a partition with some records, and its output topics."""
    await create_missing(connection, dict.fromkeys([topic, f"{topic}.embeddings", f"{topic}.dlq"], 1))
    async with open_producer(connection) as producer:
        for number in range(NUM_RECORDS):
            await producer.send(topic, b"%d" % number, partition=0)
    return Partition(topic, 0)


@contextlib.asynccontextmanager
async def owning(connection: Connection, home: Partition, **options: Any) -> AsyncIterator[ExactlyOnce]:
    """Give the delivery of a worker that the group takes for the owner of the partition."""
    topics = {Output.EMBEDDINGS: f"{home.topic}.embeddings", Output.DEAD_LETTERS: f"{home.topic}.dlq"}
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
    """Return the offsets whose outputs can be read."""
    return [int(it.key) for it in await read_all(connection, f"{home.topic}.embeddings")]


async def stands_at(connection: Connection, home: Partition, offset: int) -> None:
    """Wait until the group stands there."""
    await until_committed(connection, f"group-{home.topic}", home, offset)


def fail_once(delivery: ExactlyOnce, home: Partition, kind: type, *, is_sent: bool) -> None:
    """Let the next request of a kind time out, after it was sent or without."""
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


async def test_brokers_that_refuse_transactions_like_ours_stop_the_start(connection: Connection) -> None:
    """One line says why: here, that a transaction may not take so long."""
    with pytest.raises(BrokerUnavailable, match=r"refuses transactions: .*(?i:timeout)") as caught:
        await check_transactions(connection, group_id="g", transaction_timeout_s=100_000)
    assert "\n" not in str(caught.value)


async def test_outputs_and_offset_become_visible_together(connection: Connection, home: Partition) -> None:
    """When a publication returns, both are there."""
    async with owning(connection, home) as delivery:
        assert await delivery.open(home) == 0
        for first in (0, 4, 7):
            await delivery.publish(home, outcomes(home, first, 3 if first else 4))
            next_offset = first + (3 if first else 4)
            assert await keys(connection, home) == list(range(next_offset))
            await stands_at(connection, home, next_offset)


async def test_an_offset_is_read_only_after_the_coordinator_has_replicated_something(
    connection: Connection, home: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has just taken over may answer with what was committed seconds ago; and what we ask it to write leaves no trace."""
    asked: list[str] = []
    send = AIOKafkaClient.send

    async def noted(client: AIOKafkaClient, node_id: int, request: object, **options: Any) -> Any:
        asked.append(type(request).__name__.removesuffix("Request").removeprefix("_"))
        return await send(client, node_id, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await delivery.publish(home, outcomes(home, 0, 3))
        await delivery.forget(home)
        asked.clear()
        assert await delivery.open(home) == 3
        order = ["InitProducerId", "AddOffsetsToTxn", "TxnOffsetCommit", "OffsetFetch", "EndTxn"]
        assert [it for it in asked if it in order] == order
        await stands_at(connection, home, 3)


async def test_a_new_owner_shuts_the_last_one_out(connection: Connection, home: Partition) -> None:
    """What the last one still publishes is seen by nobody, and its offset does not count."""
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
        await stands_at(connection, home, 5)
        await next_owner.stop()


async def test_who_was_shut_out_begins_anew_from_where_the_group_stands(connection: Connection, home: Partition) -> None:
    """After a pause that lets it learn whose the partition is."""
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


async def test_what_the_broker_refuses_is_named_and_nothing_of_its_transaction_is_seen(
    connection: Connection, home: Partition
) -> None:
    """The limit of the topic was lowered after we read it; the rest is published once, without the guilty one."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await configure(connection, f"{home.topic}.embeddings", {"max.message.bytes": "3000"})
        guilty = outcomes(home, 1, 1, b"x" * 10_000)
        with pytest.raises(RecordRefused) as caught:
            await delivery.publish(home, [*outcomes(home, 0, 1), *guilty, *outcomes(home, 2, 1)])
        assert (caught.value.offset, caught.value.output) == (1, Output.EMBEDDINGS)
        await delivery.publish(home, [*outcomes(home, 0, 1), Outcome(guilty[0].source), *outcomes(home, 2, 1)])
        assert await keys(connection, home) == [0, 2]
        await stands_at(connection, home, 3)


async def test_messages_that_are_refused_only_together_are_sent_one_at_a_time(connection: Connection, home: Partition) -> None:
    """A batch over the limit of its topic does not mean that any of its messages is."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await configure(connection, f"{home.topic}.embeddings", {"max.message.bytes": "3000"})
        await delivery.publish(home, outcomes(home, 0, 5, b"x" * 1_000))
        assert await keys(connection, home) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("is_sent", [True, False])
async def test_a_producer_whose_request_may_still_arrive_is_replaced(
    connection: Connection, home: Partition, *, is_sent: bool
) -> None:
    """The client tries again and succeeds, but the late one could hit the next transaction: that has a new epoch."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        before = delivery._producers[home]
        fail_once(delivery, home, AddPartitionsToTxnRequest, is_sent=is_sent)
        await delivery.publish(home, outcomes(home, 0, 2))
        assert before.is_doubtful
        await delivery.publish(home, outcomes(home, 2, 2))
        assert delivery._producers[home] is not before
        assert await keys(connection, home) == [0, 1, 2, 3]


async def test_a_replaced_producer_goes_on_only_where_nobody_else_has_been(connection: Connection, home: Partition) -> None:
    """It would shut out the owner of today and repeat what that one has done."""
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


async def test_a_cancelled_publication_is_seen_whole_or_not_at_all(connection: Connection, home: Partition) -> None:
    """Whatever became of it, the next session begins exactly behind it."""
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


async def test_outside_of_a_session_nothing_is_published(connection: Connection, home: Partition) -> None:
    """A closed partition takes nothing, and closing it again is no error."""
    async with owning(connection, home) as delivery:
        await delivery.open(home)
        await delivery.forget(home)
        await delivery.forget(home)
        with pytest.raises(PublishFailed, match="not open"):
            await delivery.publish(home, outcomes(home, 0, 1))
        await stands_at(connection, home, 0)
