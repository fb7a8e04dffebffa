"""Long texts in chunks, on a real Kafka with a real model."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.workers import Watcher, WorkerProcess, create
from worker.broker.tools.clients import open_producer, read_to_end
from worker.records import Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SENTENCES = [f"Sentence {number} of this text is about the weather in London." for number in range(12)]


async def test_a_shorter_version_deletes_the_chunks_that_no_longer_exist(connection: Connection, topic: str) -> None:
    """The topic has the chunks of the last version under exactly once, each with the place of its text."""
    await create(connection, topic, num_partitions=1)
    long, short = " ".join(SENTENCES), " ".join(SENTENCES[:3])
    settings: dict[str, Any] = {"long_text": "chunks", "max_seq_length": 32, "delivery": "exactly_once"}
    texts = [(b"a", long), (b"b", long), (b"a", short), (b"b", None), (b"c", "Hello.")]
    async with Watcher(connection, topic, num_expected=4) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
            async with open_producer(connection) as producer:
                for key, text in texts:
                    value = None if text is None else json.dumps({"id": key.decode(), "text": text}).encode()
                    await producer.send(topic, value, key=key, partition=0)
            await watcher.until(lambda: any(record.key == b"c#0" for _, record in watcher.records))
            assert await worker.end(signal.SIGTERM) == 0
    kept: dict[bytes | None, dict[str, Any]] = {}
    async for records in read_to_end(connection, {Partition(f"{topic}.embeddings", 0): 0}):
        for record in records:
            kept.pop(record.key, None)
            if record.value is not None:
                kept[record.key] = json.loads(record.value)
    parts = [(value["parent"], value["number"], value["count"]) for value in kept.values()]
    assert [part for part in parts if part[0] == "a"] == [("a", number, 2) for number in range(2)]
    assert {part[0] for part in parts} == {"a", "c"}
    chunks = [short[value["start"] : value["end"]] for value in kept.values() if value["parent"] == "a"]
    assert " ".join(chunks) == short
    assert all(chunk.endswith(".") for chunk in chunks)
