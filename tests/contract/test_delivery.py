"""One suite of tests for the fake delivery and for both deliveries on a Kafka broker."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.fakes import FakeDelivery, FakeKafka, FakeSource
from tests.integration.support.raw import configure
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
    """A fake delivery in memory."""

    # Whether records that were published and not committed are published again.
    repeats = True

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self.source = FakeSource(kafka, assign_at_start=False)
        self.source.is_started = True
        self.delivery = FakeDelivery(kafka)
        self.home = kafka.partitions[0]

    async def produce(self, values: Sequence[bytes]) -> None:
        """Append records to the input topic."""
        for value in values:
            self._kafka.produce(value)

    async def visible(self, output: Output) -> list[tuple[bytes | None, bytes | None]]:
        """Return key and value of each published message of an output."""
        return [(message.key, message.value) for _, _, message in self._kafka.published if message.output is output]


class RealWorld:
    """A real delivery on a broker."""

    def __init__(self, connection: Connection, topic: str, consumer: Consumer, delivery: AtLeastOnce | ExactlyOnce) -> None:
        self.repeats = isinstance(delivery, AtLeastOnce)
        self._connection = connection
        self._topic = topic
        self.source = consumer
        self.delivery = delivery
        self.home = Partition(topic, 0)

    async def produce(self, values: Sequence[bytes]) -> None:
        """Append records to the input topic."""
        async with open_producer(self._connection) as producer:
            for value in values:
                await producer.send(self._topic, value, key=b"k", partition=0)

    async def visible(self, output: Output) -> list[tuple[bytes | None, bytes | None]]:
        """Read the topic of an output from its start to its end."""
        return [(message.key, message.value) for message in await read_all(self._connection, f"{self._topic}.{output}")]


World: TypeAlias = FakeWorld | RealWorld


class _Listener:
    """Keeps the set of assigned partitions."""

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


@contextlib.asynccontextmanager
async def _real(connection: Connection, topic: str, kind: str) -> AsyncIterator[RealWorld]:
    await create_missing(connection, {topic: 1} | {f"{topic}.{output}": 1 for output in OUTPUTS})
    consumer = Consumer(connection, topics=[topic], group_id=f"group-{topic}", on_event=lambda event, **fields: None)  # noqa: ARG005
    topics = {topic: {output: f"{topic}.{output}" for output in OUTPUTS}}
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


@pytest.fixture(params=["fake", *(pytest.param(kind, marks=pytest.mark.kafka) for kind in ("at_least_once", "exactly_once"))])
async def world(request: pytest.FixtureRequest, topic: str) -> AsyncIterator[World]:
    """Yield a fake delivery, an at-least-once delivery and an exactly-once delivery."""
    if request.param == "fake":
        yield FakeWorld(FakeKafka())
        return
    async with _real(request.getfixturevalue("connection"), topic, request.param) as real:
        yield real


async def open_partition(world: World) -> int:
    """Open the partition as a session does, and return the offset to read from."""
    start = await world.delivery.open(world.home)
    world.source.seek(world.home, start)
    return start


async def received(world: World, count: int) -> list[Record]:
    """Poll until `count` records are there, and return the records."""
    records: list[Record] = []
    while len(records) < count:
        found = await world.source.poll([world.home], max_records=100)
        records += [source for source in found if isinstance(source, Record)]
    return records


def outcome(record: Record) -> Outcome:
    """Return an outcome with one message that repeats the record."""
    return Outcome(record, (Message(Output.EMBEDDINGS, record.key, record.value),))


async def test_published_messages_are_visible_once_and_in_order(world: World) -> None:
    """The messages are visible when `publish` returns."""
    await world.produce([b"%d" % n for n in range(100)])
    assert await open_partition(world) == 0
    records = await received(world, 100)
    for first in range(0, 100, 30):
        await world.delivery.publish(world.home, [outcome(record) for record in records[first : first + 30]])
    assert await world.visible(Output.EMBEDDINGS) == [(b"k", b"%d" % n) for n in range(100)]
    assert await world.visible(Output.DEAD_LETTERS) == []


async def test_a_partition_is_read_from_its_committed_offset(world: World) -> None:
    """At-least-once publishes a record again if its offset was not committed. Exactly-once has no such record."""
    await world.produce([b"a", b"b", b"c"])
    await open_partition(world)
    records = await received(world, 3)
    await world.delivery.publish(world.home, [outcome(records[0])])
    await world.delivery.commit([world.home])
    await world.delivery.publish(world.home, [outcome(records[1])])
    await world.delivery.forget(world.home)
    start = 1 if world.repeats else 2
    assert await open_partition(world) == start
    assert [record.offset for record in await received(world, 3 - start)] == list(range(start, 3))


async def test_a_forgotten_partition_is_not_committed(world: World) -> None:
    """A commit after the end of a session has no effect."""
    await world.produce([b"a"])
    await open_partition(world)
    await world.delivery.publish(world.home, [outcome(record) for record in await received(world, 1)])
    await world.delivery.forget(world.home)
    await world.delivery.commit([world.home])
    assert await open_partition(world) == (0 if world.repeats else 1)


async def test_a_commit_without_published_records_succeeds(world: World) -> None:
    """The commit may come before the partition is open, and may be repeated."""
    await world.delivery.commit([world.home])
    await open_partition(world)
    await world.delivery.commit([world.home])
    await world.delivery.commit([world.home])
    assert await open_partition(world) == 0


async def test_an_outcome_without_messages_moves_the_committed_offset(world: World) -> None:
    """The next session does not read the record again."""
    await world.produce([b"a", b"b"])
    await open_partition(world)
    records = await received(world, 2)
    await world.delivery.publish(world.home, [Outcome(records[0]), outcome(records[1])])
    await world.delivery.commit([world.home])
    await world.delivery.forget(world.home)
    assert await open_partition(world) == 2


async def test_a_tombstone_is_published_with_a_null_value(world: World) -> None:
    await world.produce([b"a"])
    await open_partition(world)
    record = (await received(world, 1))[0]
    await world.delivery.publish(world.home, [Outcome(record, (Message(Output.EMBEDDINGS, b"gone", None),))])
    assert await world.visible(Output.EMBEDDINGS) == [(b"gone", None)]


async def test_a_message_of_the_maximum_size_is_accepted(world: World) -> None:
    """`max_message_bytes` is the limit of the topic."""
    limit_bytes = world.delivery.max_message_bytes(Output.EMBEDDINGS)
    await world.produce([b"a"])
    await open_partition(world)
    record = (await received(world, 1))[0]
    large = Message(Output.EMBEDDINGS, b"k", b"x" * (limit_bytes - 1))
    await world.delivery.publish(world.home, [Outcome(record, (large,))])
    assert [len(value or b"") for _, value in await world.visible(Output.EMBEDDINGS)] == [limit_bytes - 1]


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["at_least_once", "exactly_once"])
async def test_refresh_limits_reads_a_raised_limit_of_a_topic(
    connection: Connection, topic: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A description that is recent enough is kept."""
    async with _real(connection, topic, kind) as world:
        before_bytes = world.delivery.max_message_bytes(Output.EMBEDDINGS)
        await configure(connection, f"{topic}.embeddings", {"max.message.bytes": str(2 * before_bytes)})
        await world.delivery.refresh_limits()
        assert world.delivery.max_message_bytes(Output.EMBEDDINGS) == before_bytes
        monkeypatch.setattr("worker.broker.delivery.output_topics.RECENT_S", 0.0)
        while world.delivery.max_message_bytes(Output.EMBEDDINGS) == before_bytes:
            await world.delivery.refresh_limits()
