"""Topics in other forms than the wire contract, served by settings alone, by one worker that reads several topics."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.reading import until_committed
from tests.integration.support.workers import WorkerProcess
from worker.broker.admin.offsets import fetch_group_offsets
from worker.broker.admin.topics import create_missing
from worker.broker.tools.clients import follow, open_producer
from worker.commands import check
from worker.commands.repair import dlq
from worker.commands.repair.lag import lag
from worker.commands.try_records import read_records
from worker.composition.broker import create_topics
from worker.composition.input_topics import resolve_pattern
from worker.errors import BadSettings, TopicsMissing
from worker.records import Partition, Task
from worker.settings import read
from worker.wire.dead_letters import DeadLetterFilter

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection
    from worker.records import Record
    from worker.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def change(operation: str, before: object, after: object) -> dict[str, Any]:
    """Return a change event of Debezium in the envelope of Kafka Connect."""
    return {"schema": {}, "payload": {"op": operation, "before": before, "after": after, "source": {"table": "tickets"}}}


ROW = {"id": 1, "body": "Ada Lovelace loved London."}
TRUNCATE = {"op": "t", "before": None, "after": None, "source": {"table": "tickets"}}
# The values of each topic, and the ids of the embeddings; None for a tombstone.
RECORDS: dict[str, list[tuple[object, str | None]]] = {
    "debezium": [
        (change("c", None, ROW), "1"),
        (change("u", ROW, {**ROW, "seen": True}), ""),
        (change("u", ROW, {**ROW, "body": "Grace Hopper went to Paris."}), "1"),
        (TRUNCATE, ""),
        (change("d", ROW, None), None),
    ],
    "connect": [({"schema": {"type": "struct"}, "payload": {"id": "c-1", "body": "It works."}}, "c-1")],
    "integer": [({"id": 7, "body": "It works."}, "7"), ({"id": 8, "body": " "}, "")],
}


async def read_outputs(connection: Connection, names: list[str], *, num_expected: int) -> list[Record]:
    """Return the committed messages of topics once there are `num_expected`."""
    found: list[Record] = []
    async for records in follow(connection, names, from_beginning=True):
        found += records
        if len(found) >= num_expected:
            return found
    return found


async def test_topics_of_debezium_of_connect_and_with_integer_ids_are_served_by_settings(
    connection: Connection, topic: str
) -> None:
    """Exactly once, each topic has its outputs in topics of its own, and the skipped records are committed and counted."""
    names = [f"{topic}.{name}" for name in RECORDS]
    mapping = {"text_field": "body", "unchanged_text": "skip", "empty_text": "skip", "tasks": "embed"}
    broker = {"bootstrap_servers": connection.bootstrap_servers, "topic_partitions": 1}
    assert len(await create_topics(read({**broker, "input_topic": ",".join(names)}), {Task.EMBED})) == 3 * len(names)
    async with open_producer(connection) as producer:
        for name, records in RECORDS.items():
            for value, _ in records:
                await producer.send(f"{topic}.{name}", json.dumps(value).encode(), key=b"k", partition=0)
        await producer.send(names[1], b'{"body": 7}', key=b"k", partition=0)
    expected = {f"{topic}.{name}": [given for _, given in records if given != ""] for name, records in RECORDS.items()}
    with WorkerProcess(connection.bootstrap_servers, ",".join(names), delivery="exactly_once", group_id=topic, **mapping) as worker:
        outputs = await read_outputs(
            connection, [f"{name}.embeddings" for name in names], num_expected=sum(map(len, expected.values()))
        )
        letters = await read_outputs(connection, [f"{names[1]}.dlq"], num_expected=1)
        assert worker.metric("gist_records_skipped_total") == 3
        assert await worker.end(signal.SIGTERM) == 0
    found: dict[str, list[str | None]] = {name: [] for name in names}
    for record in outputs:
        identity = None if record.value is None else json.loads(record.value)["id"]
        found[record.partition.topic.removesuffix(".embeddings")].append(identity)
    assert found == expected
    assert json.loads(letters[0].value or b"")["message"] == "`body` must be a string, not a number"
    for name in names:
        _, (offset,) = await fetch_group_offsets(connection, name, topic)
        assert offset.lag == 0


def test_commands_accept_several_topics(connection: Connection, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Topics are created, checked and listed for each input topic. A command for one topic asks for its name."""
    names = f"{topic}.a,{topic}.b"
    settings = read({"bootstrap_servers": connection.bootstrap_servers, "input_topic": names, "group_id": topic, "tasks": "embed"})
    check.topics(settings, create=True)
    created = {line.removeprefix("created ") for line in capsys.readouterr().out.splitlines() if line.startswith("created ")}
    assert created == {f"{topic}.{name}{suffix}" for name in "ab" for suffix in ("", ".embeddings", ".dlq")}
    check.check(settings.model_copy(update={"delivery": "exactly_once"}))
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{topic}.a → {topic}.a.embeddings, {topic}.a.dlq; {topic}.b → {topic}.b.embeddings" in shown
    lag(settings, is_json=True)
    assert {partition["topic"] for partition in json.loads(capsys.readouterr().out)["partitions"]} == set(names.split(","))
    with pytest.raises(BadSettings, match="select one with --input-topic"):
        asyncio.run(dlq.list_letters(settings, DeadLetterFilter(), includes_done=False))
    with pytest.raises(BadSettings, match="there is no record to try"):
        read_records(settings, (), file=None, key=None, count=2)

    async def send() -> None:
        async with open_producer(connection) as producer:
            for number, name in enumerate("abab"):
                await producer.send(f"{topic}.{name}", b"%d" % number, partition=number // 2, timestamp_ms=number)

    asyncio.run(send())
    assert [record.value for record in read_records(settings, (), file=None, key=None, count=3)] == [b"1", b"2", b"3"]
    shared = settings.model_copy(update={"dead_letter_topic": f"{topic}.a.dlq"})
    assert dlq.get_topic(shared) == f"{topic}.a.dlq"
    assert asyncio.run(dlq.list_letters(shared, DeadLetterFilter(), includes_done=False))[0] == []


async def test_a_topic_that_is_created_later_is_read_if_it_matches_the_pattern(connection: Connection, topic: str) -> None:
    """A pattern never matches the worker's own outputs. A new topic is read once its output topics exist, from its first record."""

    async def send(name: str) -> None:
        async with open_producer(connection) as producer:
            await producer.send(name, b'{"text": "It works."}', key=b"k", partition=0)

    def build(name: str) -> Settings:
        return read({"bootstrap_servers": connection.bootstrap_servers, "topic_partitions": 1, "input_topic": name})

    first, second = f"{topic}.a", f"{topic}.b"
    await create_topics(build(first), {Task.EMBED})
    await send(first)
    options: dict[str, Any] = {"input_topic_pattern": f"{topic}.*", "tasks": "embed", "metadata_max_age_ms": 200, "group_id": topic}
    with WorkerProcess(connection.bootstrap_servers, "", auto_offset_reset="latest", **options) as worker:
        # The first record came before the start of the group.
        await until_committed(connection, topic, Partition(first, 0), 1)
        await create_missing(connection, {second: 1})
        await send(second)
        await create_topics(build(second), {Task.EMBED})
        await send(first)
        names = [f"{first}.embeddings", f"{second}.embeddings"]
        assert len(await read_outputs(connection, names, num_expected=2)) == 2
        assert worker.events("input_topics_changed")[-1]["topics"] == [first, second]
        assert await worker.end(signal.SIGTERM) == 0
    resolved = await resolve_pattern(read({"bootstrap_servers": connection.bootstrap_servers, "input_topic_pattern": f"{topic}.*"}))
    assert resolved.live_topics == (first, second)
    with pytest.raises(TopicsMissing, match="no topic that the worker may see matches"):
        await resolve_pattern(read({"bootstrap_servers": connection.bootstrap_servers, "input_topic_pattern": "absent"}))
