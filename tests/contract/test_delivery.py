"""One set of sentences about a delivery, said of the one in memory and of the two on a real Kafka."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.fakes import FakeDelivery, FakeKafka, FakeSource
from tests.integration.support.reading import read_all
from worker.broker.admin.topics import create_missing
from worker.broker.consumer.consumer import Consumer
from worker.broker.delivery.at_least_once import AtLeastOnce
from worker.broker.delivery.exactly_once import ExactlyOnce
from worker.broker.tools.clients import open_producer
from worker.records import Message, Outcome, Output, Partition, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from worker.broker.connection.connection import Connection

OUTPUTS = (Output.EMBEDDINGS, Output.DEAD_LETTERS)


class FakeWorld:
    """In memory."""

    # Whether what was published and not committed is done again.
    repeats = True

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self.source = FakeSource(kafka, assign_at_start=False)
        self.source.is_started = True
        self.delivery = FakeDelivery(kafka, self.source)
        self.home = kafka.partitions[0]

    async def produce(self, values: Sequence[bytes]) -> None:
        """Append."""
        for value in values:
            self._kafka.produce(value)

    async def visible(self, output: Output) -> list[tuple[bytes | None, bytes | None]]:
        """Return what was published."""
        return [(message.key, message.value) for _, _, message in self._kafka.published if message.output is output]


class RealWorld:
    """On a broker."""

    def __init__(self, connection: Connection, topic: str, consumer: Consumer, delivery: AtLeastOnce | ExactlyOnce) -> None:
        self.repeats = isinstance(delivery, AtLeastOnce)
        self._connection = connection
        self._topic = topic
        self.source = consumer
        self.delivery = delivery
        self.home = Partition(topic, 0)

    async def produce(self, values: Sequence[bytes]) -> None:
        """Append."""
        async with open_producer(self._connection) as producer:
            for value in values:
                await producer.send(self._topic, value, key=b"k", partition=0)

    async def visible(self, output: Output) -> list[tuple[bytes | None, bytes | None]]:
        """Read the topic from its beginning to its end."""
        return [(it.key, it.value) for it in await read_all(self._connection, f"{self._topic}.{output}")]


World: TypeAlias = FakeWorld | RealWorld


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


@contextlib.asynccontextmanager
async def _real(connection: Connection, topic: str, kind: str) -> AsyncIterator[RealWorld]:
    await create_missing(connection, {topic: 1} | {f"{topic}.{output}": 1 for output in OUTPUTS})
    consumer = Consumer(connection, topics=[topic], group_id=f"group-{topic}", on_event=lambda event, **fields: None)  # noqa: ARG005
    topics = {output: f"{topic}.{output}" for output in OUTPUTS}
    delivery = (
        AtLeastOnce(consumer, connection, topics=topics)
        if kind == "at_least_once"
        else ExactlyOnce(consumer, connection, topics=topics, group_id=f"group-{topic}")
    )
    listener = _Listener()
    try:
        await delivery.start()
        await consumer.start(listener)
        while not listener.partitions:
            await consumer.poll([], max_records=1)
        yield RealWorld(connection, topic, consumer, delivery)
    finally:
        await delivery.stop()
        await consumer.stop()


@pytest.fixture(params=["fake", *(pytest.param(it, marks=pytest.mark.kafka) for it in ("at_least_once", "exactly_once"))])
async def world(request: pytest.FixtureRequest, topic: str) -> AsyncIterator[World]:
    """Give each of the three worlds."""
    if request.param == "fake":
        yield FakeWorld(FakeKafka())
        return
    async with _real(request.getfixturevalue("connection"), topic, request.param) as real:
        yield real


async def received(world: World, count: int) -> list[Record]:
    """Poll until so much has come."""
    records: list[Record] = []
    while len(records) < count:
        found = await world.source.poll([world.home], max_records=100)
        records += [it for it in found if isinstance(it, Record)]
    return records


def outcome(record: Record) -> Outcome:
    """Return an outcome that repeats the record."""
    return Outcome(record, (Message(Output.EMBEDDINGS, record.key, record.value),))


async def test_what_is_published_is_visible_once_in_order(world: World) -> None:
    """When `publish` returns, everything is there."""
    await world.produce([b"%d" % n for n in range(100)])
    assert await world.delivery.open(world.home) == 0
    records = await received(world, 100)
    for first in range(0, 100, 30):
        await world.delivery.publish(world.home, [outcome(it) for it in records[first : first + 30]])
    assert await world.visible(Output.EMBEDDINGS) == [(b"k", b"%d" % n) for n in range(100)]
    assert await world.visible(Output.DEAD_LETTERS) == []


async def test_a_session_begins_where_the_last_one_committed(world: World) -> None:
    """Published and committed is done; published and not committed is done again, where these are two."""
    await world.produce([b"a", b"b", b"c"])
    await world.delivery.open(world.home)
    records = await received(world, 3)
    await world.delivery.publish(world.home, [outcome(records[0])])
    await world.delivery.commit([world.home])
    await world.delivery.publish(world.home, [outcome(records[1])])
    await world.delivery.close(world.home)
    start = 1 if world.repeats else 2
    assert await world.delivery.open(world.home) == start
    assert [it.offset for it in await received(world, 3 - start)] == list(range(start, 3))


async def test_what_was_closed_is_not_committed(world: World) -> None:
    """A commit after the end of a session changes nothing."""
    await world.produce([b"a"])
    await world.delivery.open(world.home)
    await world.delivery.publish(world.home, [outcome(it) for it in await received(world, 1)])
    await world.delivery.close(world.home)
    await world.delivery.commit([world.home])
    assert await world.delivery.open(world.home) == (0 if world.repeats else 1)


async def test_nothing_to_commit_is_no_error(world: World) -> None:
    """Before anything was published, and twice."""
    await world.delivery.commit([world.home])
    await world.delivery.open(world.home)
    await world.delivery.commit([world.home])
    await world.delivery.commit([world.home])
    assert await world.delivery.open(world.home) == 0


async def test_an_outcome_without_messages_moves_the_offset(world: World) -> None:
    """A record that asked for nothing that we publish is done all the same."""
    await world.produce([b"a", b"b"])
    await world.delivery.open(world.home)
    records = await received(world, 2)
    await world.delivery.publish(world.home, [Outcome(records[0]), outcome(records[1])])
    await world.delivery.commit([world.home])
    await world.delivery.close(world.home)
    assert await world.delivery.open(world.home) == 2


async def test_a_tombstone_is_delivered(world: World) -> None:
    """Its value stays null."""
    await world.produce([b"a"])
    await world.delivery.open(world.home)
    record = (await received(world, 1))[0]
    await world.delivery.publish(world.home, [Outcome(record, (Message(Output.EMBEDDINGS, b"gone", None),))])
    assert await world.visible(Output.EMBEDDINGS) == [(b"gone", None)]


async def test_the_limits_of_the_topics_are_known(world: World) -> None:
    """What does not exceed them is accepted."""
    limit_bytes = world.delivery.max_message_bytes(Output.EMBEDDINGS)
    await world.produce([b"a"])
    await world.delivery.open(world.home)
    record = (await received(world, 1))[0]
    large = Message(Output.EMBEDDINGS, b"k", b"x" * (limit_bytes - 1))
    await world.delivery.publish(world.home, [Outcome(record, (large,))])
    assert [len(value or b"") for _, value in await world.visible(Output.EMBEDDINGS)] == [limit_bytes - 1]
