"""Headers through a real Kafka and back: from a producer to the outputs, into a dead letter, and out of its replay."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests.integration.support.reading import read_all
from tests.integration.support.workers import Watcher, WorkerProcess, create
from worker.broker.tools.clients import open_producer
from worker.cli import app
from worker.records import Output
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection
    from worker.records import Headers

pytestmark = pytest.mark.kafka

HEADERS: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e\xe2\x80\x8d/1"),
    ("ce_source", b"/tickets"),
    ("ce_type", b"ticket.created"),
    ("__TypeId__", b"com.example.Ticket"),
    ("spring_json_header_types", b'{"null":"java.lang.String"}'),
    ("null", None),
    ("tasks", b"embed,ner,"),
    ("content-type", b"text/plain"),
)


async def test_an_event_gives_events_and_comes_back_as_it_was(connection: Connection, topic: str) -> None:
    """Outputs and dead letters are events without headers about the input value; a replay has all headers."""
    await create(connection, topic, num_partitions=1)
    async with open_producer(connection) as producer:
        await producer.send(topic, b"good", key=b"k", headers=HEADERS)
        await producer.send(topic, b"poison", key=b"k", headers=HEADERS)
    program = ("-m", "tests.integration.support.slow_worker", "0")
    async with Watcher(connection, topic, num_expected=2) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, program=program):
            await watcher.until(lambda: len(watcher.records) == 3)
    found = [(output, dict(record.headers)) for output, record in watcher.records]
    assert sorted(output for output, _ in found) == [Output.DEAD_LETTERS, Output.EMBEDDINGS, Output.ENTITIES]
    assert len({headers["ce_id"] for _, headers in found} - {HEADERS[1][1]}) == 3
    for output, record in watcher.records:
        headers = read_headers(record.headers)
        assert ("null", None) in record.headers
        assert not {"__TypeId__", "spring_json_header_types"} & headers.keys()
        assert (headers["ce_source"], headers["ce_causationid"]) == (b"/tickets", HEADERS[1][1])
        assert headers["ce_dataschema"].startswith(b"urn:gist-stream:v1:")
        assert output is Output.DEAD_LETTERS or json.loads(record.value or b"")["id"] == "e\u200d/1"
    flags = ["--bootstrap-servers", connection.bootstrap_servers, "--input-topic", topic]
    result = await asyncio.to_thread(CliRunner().invoke, app, ["dlq", "replay", "--execute", *flags])
    assert result.exit_code == 0, result.output
    replayed = (await read_all(connection, topic, partition=0))[-1]
    assert replayed.headers == (("gist-attempt", b"2"), *HEADERS)
