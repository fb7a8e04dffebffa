"""At-least-once delivery on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.raw import configure
from tests.integration.support.reading import read_all
from worker.broker.admin.topics import create_missing
from worker.broker.connection.connection import Connection
from worker.broker.consumer.consumer import Consumer
from worker.broker.delivery.at_least_once import AtLeastOnce
from worker.errors import PublishFailed, RecordRefused, TopicsMissing
from worker.records import Message, Outcome, Output, Partition, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.testbed.embedded_kafka import EmbeddedKafka

pytestmark = pytest.mark.kafka


@contextlib.asynccontextmanager
async def delivering(connection: Connection, topic: str, *, num_partitions: int = 2, **options: Any) -> AsyncIterator[AtLeastOnce]:
    """Yield a delivery to one output topic and the dead-letter topic. Its consumer joins no group."""
    topics = {topic: {Output.EMBEDDINGS: f"{topic}.embeddings", Output.DEAD_LETTERS: f"{topic}.dlq"}}
    await create_missing(connection, dict.fromkeys(topics[topic].values(), num_partitions))
    consumer = Consumer(connection, topics=[topic], group_id="unused", on_event=lambda event, **fields: None)  # noqa: ARG005
    delivery = AtLeastOnce(consumer, connection, topics=topics, **options)
    await delivery.start()
    try:
        yield delivery
    finally:
        await delivery.stop()


def outcome(partition: Partition, offset: int, value: bytes = b"v") -> Outcome:
    """Return an outcome with one message."""
    return Outcome(Record(partition, offset, b"k", b""), (Message(Output.EMBEDDINGS, b"%d" % offset, value, (("h", b"1"),)),))


async def test_messages_keep_partition_key_headers_and_order(connection: Connection, topic: str) -> None:
    """The output partition has the index of the input partition, modulo the number of output partitions."""
    async with delivering(connection, topic, num_partitions=2) as delivery:
        for index in range(3):
            home = Partition(topic, index)
            await delivery.publish(home, [outcome(home, offset) for offset in range(index * 10, index * 10 + 5)])
        even, odd = [await read_all(connection, f"{topic}.embeddings", partition=index) for index in (0, 1)]
    assert [record.key for record in even] == [b"%d" % n for n in (*range(5), *range(20, 25))]
    assert [record.key for record in odd] == [b"%d" % n for n in range(10, 15)]
    assert even[0].headers == (("h", b"1"),)


async def test_a_message_that_only_the_broker_refuses_is_found(connection: Connection, topic: str) -> None:
    """The limit of the topic was lowered after the description. The error names the record, and publishing continues."""
    home = Partition(topic, 0)
    async with delivering(connection, topic, compression=None) as delivery:
        await configure(connection, f"{topic}.embeddings", {"max.message.bytes": "3000"})
        with pytest.raises(RecordRefused) as caught:
            await delivery.publish(home, [outcome(home, 0), outcome(home, 1, b"x" * 10_000), outcome(home, 2)])
        assert (caught.value.offset, caught.value.output) == (1, Output.EMBEDDINGS)
        await delivery.publish(home, [outcome(home, 0), outcome(home, 2)])
        keys = [record.key for record in await read_all(connection, f"{topic}.embeddings")]
    assert keys[-2:] == [b"0", b"2"]
    assert b"1" not in keys


async def test_a_message_over_the_known_limit_is_refused_before_sending(connection: Connection, topic: str) -> None:
    """The producer stays in use."""
    home = Partition(topic, 0)
    async with delivering(connection, topic) as delivery:
        with pytest.raises(RecordRefused):
            await delivery.publish(home, [outcome(home, 0, b"x" * 2_000_000)])
        await delivery.publish(home, [outcome(home, 1)])
        assert [record.key for record in await read_all(connection, f"{topic}.embeddings")] == [b"1"]


async def test_each_topic_has_its_own_limit(connection: Connection, topic: str) -> None:
    """A small limit of one topic does not apply to a dead letter in another. Batches are split at the limit of their topic."""
    await create_missing(connection, {f"{topic}.embeddings": 2}, configuration={"max.message.bytes": "1000"})
    home = Partition(topic, 0)
    dead_letter = Outcome(Record(home, 9, b"k", b""), (Message(Output.DEAD_LETTERS, b"9", b"x" * 100_000),))
    async with delivering(connection, topic, compression=None) as delivery:
        await delivery.publish(home, [*(outcome(home, offset, bytes(700)) for offset in range(5)), dead_letter])
        assert [record.key for record in await read_all(connection, f"{topic}.embeddings")] == [b"%d" % n for n in range(5)]
        assert [record.key for record in await read_all(connection, f"{topic}.dlq")] == [b"9"]


async def test_without_a_broker_all_publications_fail_and_a_new_producer_continues(own_kafka: EmbeddedKafka, topic: str) -> None:
    """Each publication fails within its time limit. After the restart of the broker the next one succeeds."""
    connection = Connection(bootstrap_servers=own_kafka.bootstrap_servers, request_timeout_ms=3000)
    one, two = Partition(topic, 0), Partition(topic, 1)
    async with delivering(connection, topic, step_timeout_s=4.0) as delivery:
        await delivery.publish(one, [outcome(one, 0)])
        await asyncio.to_thread(own_kafka.kill)
        results = await asyncio.gather(
            delivery.publish(one, [outcome(one, 1)]), delivery.publish(two, [outcome(two, 0)]), return_exceptions=True
        )
        assert [type(result) for result in results] == [PublishFailed, PublishFailed]
        await asyncio.to_thread(own_kafka.start)
        await delivery.publish(one, [outcome(one, 2)])
        keys = [record.key for record in await read_all(connection, f"{topic}.embeddings")]
    assert keys[0] == b"0"
    assert keys[-1] == b"2"


async def test_after_a_cancelled_publication_the_next_one_succeeds(connection: Connection, topic: str) -> None:
    home = Partition(topic, 0)
    async with delivering(connection, topic) as delivery:
        await delivery.publish(home, [outcome(home, 0)])
        publishing = asyncio.create_task(delivery.publish(home, [outcome(home, n) for n in range(1, 500)]))
        await asyncio.sleep(0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        await delivery.publish(home, [outcome(home, 1000)])
        assert (await read_all(connection, f"{topic}.embeddings"))[-1].key == b"1000"


async def test_a_missing_output_topic_fails_the_start_with_its_name(connection: Connection, topic: str) -> None:
    consumer = Consumer(connection, topics=[topic], group_id="unused", on_event=lambda event, **fields: None)  # noqa: ARG005
    delivery = AtLeastOnce(consumer, connection, topics={topic: {Output.LABELS: f"{topic}.labels"}})
    with pytest.raises(TopicsMissing, match=f"{topic}.labels"):
        await delivery.start()
    await delivery.stop()


@pytest.mark.parametrize("is_in_doubt", [False, True])
async def test_offsets_are_committed_again_while_an_earlier_commit_may_arrive(connection: Connection, *, is_in_doubt: bool) -> None:
    """The earlier commit would set the offset of an idle partition back."""
    commits: list[dict[Partition, int]] = []

    async def commit(offsets: dict[Partition, int]) -> None:
        commits.append(offsets)

    consumer: Any = SimpleNamespace(commit=commit, is_commit_in_doubt=is_in_doubt, on_event=None)
    delivery, home = AtLeastOnce(consumer, connection, topics={}), Partition("texts", 0)
    delivery._published[home], delivery._committed[home] = 8, 7
    await delivery.commit([home])
    await delivery.commit([home])
    assert commits == [{home: 8}] * (1 + is_in_doubt)
