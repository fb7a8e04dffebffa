"""Layouts on a real Kafka: `topics`, `check`, a worker and `tail` use the one topic of all results."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

import schemas
from tests.integration.support.raw import configure
from tests.integration.support.workers import WorkerProcess
from worker.broker.tools.clients import open_producer, read_to_end
from worker.commands import check, tail
from worker.records import Partition
from worker.settings import read

if TYPE_CHECKING:
    from pydantic import BaseModel

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

MODELS: dict[str, type[BaseModel]] = {"enriched": schemas.Enriched, "flat": schemas.Flat, "qdrant": schemas.QdrantPoint}
TEXT = "Ada Lovelace moved to London."


async def _send(connection: Connection, topic: str) -> None:
    """Send a text, a text that is too large for the output topic, a bad record and a tombstone."""
    large = {"text": TEXT, "blob": "x" * 30_000}
    async with open_producer(connection) as producer:
        for key, value in ((b"a", {"text": TEXT, "customer": {"id": 7}}), (b"b", large), (b"c", {"text": ""}), (b"a", None)):
            await producer.send(topic, None if value is None else json.dumps(value).encode(), key=key, partition=0)


@pytest.mark.parametrize("layout", ["enriched", "flat", "qdrant"])
def test_all_results_of_a_record_are_one_message(
    connection: Connection, topic: str, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker with exactly once publishes a value of the contract, dead letters with the reason, and the tombstone."""
    chosen: dict[str, Any] = {
        "output_layout": layout,
        "delivery": "exactly_once",
        "group_id": f"group-{topic}",
        "topic_partitions": 1,
    }
    settings = read({"bootstrap_servers": connection.bootstrap_servers, "input_topic": topic, **chosen})
    check.topics(settings, create=True)
    check.check(settings)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{topic} → {topic}.{layout}, {topic}.dlq" in shown
    asyncio.run(configure(connection, f"{topic}.{layout}", {"max.message.bytes": "20000"}))
    asyncio.run(_send(connection, topic))
    with WorkerProcess(connection.bootstrap_servers, topic, **chosen) as worker:
        tail.tail(settings, from_beginning=True, count=3)
        assert asyncio.run(worker.end(signal.SIGTERM)) == 0
    values = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # Records of different topics come in any order.
    result = next(value for value in values if "stage" not in value)
    first = {name: field for name, field in result.items() if name not in {"topic", "partition", "offset"}}
    MODELS[layout].model_validate(first)
    assert TEXT in json.dumps(first)
    messages = sorted(value["message"] for value in values if "stage" in value)
    assert messages[-1] == "the text is blank"
    # The flat value does not contain the other fields of the input, so the large record fits.
    assert [message.split(" bytes, and the ")[1] for message in messages[:-1]] == (
        [] if layout == "flat" else ["topic accepts 18976"]
    )
    tail.tail(settings, until_end=True, no_vectors=True)
    ended = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(ended) == 3
    assert not any(name in json.dumps(ended) for name in ("embedding", "vector"))
    assert asyncio.run(_read_last(connection, f"{topic}.{layout}")) == (b"a", None)


async def _read_last(connection: Connection, topic: str) -> tuple[bytes | None, bytes | None]:
    """Return key and value of the last committed record of a topic with one partition."""
    records = [record async for found in read_to_end(connection, {Partition(topic, 0): 0}) for record in found]
    return records[-1].key, records[-1].value
