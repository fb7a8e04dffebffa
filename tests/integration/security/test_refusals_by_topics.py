"""Output topics that refuse what a worker writes, on a real Kafka, in both delivery modes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from tests.integration.support.raw import configure
from tests.integration.support.reading import read_all, until_committed
from tests.security.flow import create_topics, serving
from worker.broker.admin.topics import create_missing
from worker.broker.delivery.output_topics import OutputTopics
from worker.broker.tools.clients import open_producer
from worker.errors import TopicsMissing
from worker.records import Output, Partition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import ConsumerRecord

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
BOTH = pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])


def settings(connection: Connection, topic: str, delivery: str) -> dict[str, Any]:
    """Return the settings of a worker in a group of its own."""
    return {
        "bootstrap_servers": connection.bootstrap_servers,
        "input_topic": topic,
        "group_id": f"group-{topic}",
        "delivery": delivery,
    }


async def send(connection: Connection, topic: str, keys: Sequence[bytes | None]) -> None:
    """Append a record for each key; the text is the number of the record."""
    async with open_producer(connection) as producer:
        for number, key in enumerate(keys):
            await producer.send(topic, b'{"id": "%d", "text": "text %d"}' % (number, number), key=key, partition=0)


async def done(connection: Connection, topic: str, count: int) -> None:
    """Return once the worker has committed so many records."""
    await until_committed(connection, f"group-{topic}", Partition(topic, 0), count)


async def ids(connection: Connection, topic: str, output: Output) -> list[str]:
    """Return the ids in an output topic, in order."""
    return [json.loads(record.value or b"")["id"] for record in await read_all(connection, f"{topic}.{output}")]


def source(letter: ConsumerRecord) -> int:
    """Return the offset that a dead letter names."""
    offset: int = json.loads(letter.value)["source"]["offset"]
    return offset


@BOTH
async def test_a_record_without_a_key_costs_its_output_in_a_compacted_topic_only(
    connection: Connection, topic: str, delivery: str
) -> None:
    """The dead letter says that the topic is compacted; every neighbour, and every other output, is published once and in order."""
    await create_topics(connection, topic)
    await configure(connection, f"{topic}.embeddings", {"cleanup.policy": "compact"})
    await send(connection, topic, [b"a", None, b"b", None, None, b"c"])
    async with serving(settings(connection, topic, delivery)):
        await done(connection, topic, 6)
    assert await ids(connection, topic, Output.EMBEDDINGS) == ["0", "2", "5"]
    for output in (Output.LABELS, Output.ENTITIES):
        assert await ids(connection, topic, output) == ["0", "1", "2", "3", "4", "5"]
    letters = await read_all(connection, f"{topic}.dlq")
    assert [source(letter) for letter in letters] == [1, 3, 4]
    for letter in letters:
        value = json.loads(letter.value)
        assert (value["stage"], value["task"], value["error"]) == ("publish", "embed", "RecordRefused")
        assert "compacted and takes no message without a key" in value["message"]


@pytest.mark.parametrize(
    ("delivery", "configuration", "keys", "refused", "reason"),
    [
        (
            "at_least_once",
            {"cleanup.policy": "compact,delete"},
            [b"a", None, b"b", None, b"c"],
            [1, 3],
            "[Error 87] InvalidRecordError",
        ),
        (
            "exactly_once",
            {"cleanup.policy": "compact,delete"},
            [b"a", None, b"b", None, b"c"],
            [1, 3],
            "[Error 87] InvalidRecordError",
        ),
    ],
)
async def test_a_refusal_that_only_the_broker_knows_is_a_dead_letter_with_its_code(
    connection: Connection,
    topic: str,
    delivery: str,
    configuration: Mapping[str, str],
    keys: list[bytes | None],
    refused: list[int],
    reason: str,
) -> None:
    """The topic is changed after the worker has read what it takes: the letter names the code, and the neighbours are published."""
    await create_topics(connection, topic)
    async with serving(settings(connection, topic, delivery)):
        await configure(connection, f"{topic}.labels", configuration)
        await send(connection, topic, keys)
        await done(connection, topic, len(keys))
    everything = [str(number) for number in range(len(keys))]
    assert list(dict.fromkeys(await ids(connection, topic, Output.EMBEDDINGS))) == everything
    expected = [key for key in everything if int(key) not in refused]
    found = await ids(connection, topic, Output.LABELS)
    assert found == expected if delivery == "exactly_once" else list(dict.fromkeys(found)) == expected
    letters = await read_all(connection, f"{topic}.dlq")
    assert sorted({source(letter) for letter in letters}) == refused
    assert reason in json.loads(letters[0].value)["message"]


async def test_a_refused_timestamp_is_no_dead_letter_because_clocks_become_right(connection: Connection, topic: str) -> None:
    """The broker refuses what the worker's clock says: the worker tries again until the timestamps are accepted."""
    await create_topics(connection, topic)
    with capture_logs() as logs:
        async with serving(settings(connection, topic, "at_least_once")):
            await configure(connection, f"{topic}.labels", {"message.timestamp.before.max.ms": "0"})
            await send(connection, topic, [b"a", b"b"])
            while not any("InvalidTimestampError" in str(entry.get("error")) for entry in logs):  # noqa: ASYNC110  a log has no event
                await asyncio.sleep(0.05)
            await configure(connection, f"{topic}.labels", {"message.timestamp.before.max.ms": "9223372036854775807"})
            await done(connection, topic, 2)
    assert list(dict.fromkeys(await ids(connection, topic, Output.LABELS))) == ["0", "1"]
    assert await read_all(connection, f"{topic}.dlq") == []


@BOTH
@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"cleanup.policy": "compact"}, r"\.dlq is compacted.*cleanup\.policy"),
        ({"cleanup.policy": "compact,delete"}, r"\.dlq is compacted"),
        ({"message.timestamp.before.max.ms": "1000"}, r"\.dlq may refuse messages by their timestamps.*1000 ms"),
        ({"message.timestamp.after.max.ms": "1000"}, r"\.dlq may refuse messages by their timestamps"),
        ({"min.insync.replicas": "2"}, r"\.dlq accepts no message: its min\.insync\.replicas is 2"),
    ],
)
async def test_a_dead_letter_topic_that_cannot_take_its_letters_stops_the_start(
    connection: Connection, topic: str, delivery: str, configuration: Mapping[str, str], words: str
) -> None:
    """One line names the topic, the configuration and what to do."""
    await create_topics(connection, topic)
    await configure(connection, f"{topic}.dlq", configuration)
    with pytest.raises(TopicsMissing, match=words):
        async with serving(settings(connection, topic, delivery)):
            pass


async def test_an_output_topic_that_no_message_can_be_written_to_stops_the_start(connection: Connection, topic: str) -> None:
    """More replicas must be in sync than there are: every message would wait for ever."""
    await create_missing(connection, {f"{topic}.labels": 1})
    await configure(connection, f"{topic}.labels", {"min.insync.replicas": "2"})
    with pytest.raises(TopicsMissing, match=r"\.labels accepts no message"):
        await OutputTopics({topic: {Output.LABELS: f"{topic}.labels"}}).describe(connection)


async def test_timestamps_of_the_broker_lift_the_limits_on_ours(connection: Connection, topic: str) -> None:
    """A topic that stamps its records by itself refuses none of them by their timestamps."""
    configuration = {"message.timestamp.before.max.ms": "1000", "message.timestamp.type": "LogAppendTime"}
    await create_missing(connection, {f"{topic}.dlq": 1})
    await configure(connection, f"{topic}.dlq", configuration)
    await OutputTopics({topic: {Output.DEAD_LETTERS: f"{topic}.dlq"}}).describe(connection)
