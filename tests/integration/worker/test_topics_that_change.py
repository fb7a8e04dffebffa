"""Output topics that are changed or made anew while a worker runs, on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.raw import configure, delete_topic
from tests.integration.support.reading import read_all, until_committed
from tests.integration.support.workers import map_topic_outputs
from tests.security.flow import serving
from worker.broker.admin.topics import count_partitions, create_missing
from worker.broker.consumer.consumer import Consumer
from worker.broker.delivery.at_least_once import AtLeastOnce
from worker.broker.delivery.exactly_once import ExactlyOnce
from worker.broker.delivery.output_topics import OutputTopics
from worker.broker.tools.clients import open_producer
from worker.errors import PublishFailed
from worker.records import Output, Partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
BOTH = pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])


async def make_anew(connection: Connection, topic: str, *, num_partitions: int) -> None:
    """Delete a topic and create it again."""
    await delete_topic(connection, topic)
    while topic in await count_partitions(connection, [topic]):  # noqa: ASYNC110  the broker tells nobody
        await asyncio.sleep(0.05)
    await create_missing(connection, {topic: num_partitions})


async def send(connection: Connection, topic: str, number: int, *, partition: int) -> None:
    """Append a numbered record to a partition."""
    async with open_producer(connection) as producer:
        await producer.send(topic, b'{"id": "%d", "text": "some text"}' % number, key=b"k", partition=partition)


@BOTH
async def test_a_topic_that_comes_back_with_fewer_partitions_is_written_to(
    connection: Connection, topic: str, delivery: str
) -> None:
    """The session that fails describes the topics anew: its outputs go to a partition that exists."""
    await create_missing(connection, dict.fromkeys([topic, *map_topic_outputs(topic)], 2))
    settings = {
        "bootstrap_servers": connection.bootstrap_servers,
        "input_topic": topic,
        "group_id": f"group-{topic}",
        "delivery": delivery,
        "delivery_timeout_ms": 3_000,
    }
    home = Partition(topic, 1)
    async with serving(settings):
        await send(connection, topic, 0, partition=1)
        await until_committed(connection, f"group-{topic}", home, 1)
        assert len(await read_all(connection, f"{topic}.embeddings", partition=1)) == 1
        await make_anew(connection, f"{topic}.embeddings", num_partitions=1)
        await send(connection, topic, 1, partition=1)
        await until_committed(connection, f"group-{topic}", home, 2)
    found = await read_all(connection, f"{topic}.embeddings", partition=0)
    assert {json.loads(record.value)["id"] for record in found} == {"1"}
    if delivery == "exactly_once":
        assert len(found) == 1


@contextlib.asynccontextmanager
async def delivering(connection: Connection, topic: str, delivery: str) -> AsyncIterator[AtLeastOnce | ExactlyOnce]:
    """Give a started delivery to two topics, which it describes twenty times a second."""
    topics = {topic: {Output.LABELS: f"{topic}.labels", Output.DEAD_LETTERS: f"{topic}.dlq"}}
    await create_missing(connection, dict.fromkeys(topics[topic].values(), 1))
    consumer = Consumer(connection, topics=[topic], group_id="nobody", on_event=lambda event, **fields: None)  # noqa: ARG005
    started = (
        AtLeastOnce(consumer, connection, topics=topics, describe_interval_s=0.05)
        if delivery == "at_least_once"
        else ExactlyOnce(consumer, connection, topics=topics, group_id=f"group-{topic}", describe_interval_s=0.05)
    )
    try:
        await started.start()
        yield started
    finally:
        await started.stop()


@BOTH
async def test_a_limit_that_was_raised_is_noticed(connection: Connection, topic: str, delivery: str) -> None:
    """What was too large for a topic is published once the topic takes more, without a restart."""
    await create_missing(connection, {f"{topic}.labels": 1}, configuration={"max.message.bytes": "2000"})
    async with delivering(connection, topic, delivery) as started:
        assert started.max_message_bytes(Output.LABELS) < 2_000
        await configure(connection, f"{topic}.labels", {"max.message.bytes": "900000"})
        while started.max_message_bytes(Output.LABELS) < 800_000:  # noqa: ASYNC110  nobody is told
            await asyncio.sleep(0.01)
        await configure(connection, f"{topic}.labels", {"cleanup.policy": "compact"})
        while not started.needs_key(Output.LABELS):  # noqa: ASYNC110  the same
            await asyncio.sleep(0.01)


async def test_sessions_that_fail_together_share_a_description(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hundred sessions that open anew at once ask the broker twice at most; without a doubt they do not ask."""
    await create_missing(connection, {f"{topic}.labels": 1})
    outputs, num_descriptions = OutputTopics({topic: {Output.LABELS: f"{topic}.labels"}}), 0
    describe = outputs.describe

    async def counted(connection: Connection) -> None:
        nonlocal num_descriptions
        num_descriptions += 1
        await describe(connection)

    monkeypatch.setattr(outputs, "describe", counted)
    await outputs.describe(connection)
    await outputs.refresh(connection)
    assert num_descriptions == 1
    outputs.is_doubtful = True
    await asyncio.gather(*(outputs.refresh(connection) for _ in range(100)))
    assert num_descriptions <= 3
    assert not outputs.is_doubtful


async def test_a_session_does_not_open_while_a_topic_cannot_be_used(connection: Connection, topic: str) -> None:
    """It says why, and opens once the topic is right again."""
    await create_missing(connection, {f"{topic}.dlq": 1})
    outputs = OutputTopics({topic: {Output.DEAD_LETTERS: f"{topic}.dlq"}})
    await outputs.describe(connection)
    await configure(connection, f"{topic}.dlq", {"cleanup.policy": "compact"})
    outputs.is_doubtful = True
    with pytest.raises(PublishFailed, match="is compacted"):
        await outputs.refresh(connection)
    await configure(connection, f"{topic}.dlq", {"cleanup.policy": "delete"})
    await outputs.refresh(connection)
    await delete_topic(connection, f"{topic}.dlq")
    outputs.is_doubtful = True
    with pytest.raises(PublishFailed, match=r"there is no topic .*\.dlq"):
        await outputs.refresh(connection)
