"""An Avro topic in and Avro results out, with a real schema registry, served by settings alone."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import signal
from typing import TYPE_CHECKING, Any

import fastavro
import pytest

from tests.integration.forms.test_input_forms import read_outputs
from tests.integration.support.apicurio import running_registry
from tests.integration.support.workers import WorkerProcess
from tests.wire.registered.test_avro import record as avro_record
from tests.wire.registered.test_avro import write
from worker.broker.tools.clients import open_producer
from worker.commands.check import check
from worker.commands.try_records import try_records
from worker.composition.broker import create_topics
from worker.records import Task
from worker.registry.client import RegistryAccess, RegistryClient
from worker.settings import Settings, read
from worker.wire.registered.frame import RegisteredSchema, build_prefix, read_schema_id

if TYPE_CHECKING:
    from pathlib import Path

    from worker.broker.connection.connection import Connection
    from worker.records import Record

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

TICKET = avro_record("Ticket", number="long", body=["null", "string"])
BODY = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"body": {"type": "string"}}}
PROTO = RegisteredSchema(
    "PROTOBUF",
    'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Other {}'
    " message Mail { google.protobuf.Timestamp at = 1; string body = 2; }",
)
KEY = avro_record("Key", number="long")


def set_id(value: bytes, schema_id: int) -> bytes:
    """Return a registered value with another id."""
    return build_prefix(schema_id) + value[5:]


async def fill(connection: Connection, url: str, topic: str) -> bytes:
    """Register the schemas of the input and produce records; return a value that does not fit its schema."""
    client = RegistryClient(RegistryAccess(urls=(url,)))
    value_id = await client.register(f"{topic}-value", RegisteredSchema("AVRO", json.dumps(TICKET)))
    key_id = await client.register(f"{topic}-key", RegisteredSchema("AVRO", json.dumps(KEY)))
    proto_id = await client.register(f"{topic}-proto", PROTO)
    json_id = await client.register(f"{topic}-json", RegisteredSchema("JSON", json.dumps(BODY)))
    await client.close()
    broken = build_prefix(value_id) + b"\xff"
    values = [
        set_id(write(TICKET, {"number": 1, "body": "Ada Lovelace loved London."}), value_id),
        broken,
        build_prefix(999_999) + b"x",
        build_prefix(json_id) + b'{"body": "It works."}',
        b'{"body": "Plain JSON works, too."}',
        # The indexes of the second message, and its field 2.
        build_prefix(proto_id) + b"\x02\x02" + b"\x12\x12Protobuf works too",
    ]
    async with open_producer(connection) as producer:
        for number, value in enumerate(values, start=1):
            await producer.send(topic, value, key=set_id(write(KEY, {"number": number}), key_id), partition=0)
    return broken


async def read_avro(url: str, records: list[Record]) -> list[Any]:
    """Return the values of results with the schemas of the registry, as any consumer reads them."""
    client = RegistryClient(RegistryAccess(urls=(url,)))
    values = []
    for record in records:
        schema_id = read_schema_id(record.value)
        assert schema_id is not None
        schema = await client.fetch_schema(schema_id)
        assert schema is not None
        parsed = fastavro.parse_schema(json.loads(schema.text))
        values.append(fastavro.schemaless_reader(io.BytesIO((record.value or b"")[5:]), parsed, None))
    await client.close()
    return values


def make_settings(connection: Connection, topic: str, url: str) -> dict[str, Any]:
    """Return the settings of a worker."""
    return {
        "bootstrap_servers": connection.bootstrap_servers,
        "topic_partitions": 1,
        "input_topic": topic,
        "schema_registry_url": f"http://127.0.0.1:1,{url}",
        "output_format": "avro",
        "text_field": "body",
        "id_from": "key",
    }


async def test_an_avro_topic_is_served_by_settings_and_its_results_are_avro(
    connection: Connection, topic: str, tmp_path: Path
) -> None:
    """The first address of the registry does not answer; ids come from Avro keys; dead letters have the original bytes."""
    with running_registry(tmp_path) as url:
        given = make_settings(connection, topic, url)
        settings = read(given)
        await create_topics(settings, set(Task))
        broken = await fill(connection, url, topic)
        del given["bootstrap_servers"], given["input_topic"]
        with WorkerProcess(connection.bootstrap_servers, topic, **given) as worker:
            results = await read_outputs(connection, [f"{topic}.entities"], num_expected=4)
            embeddings = await read_outputs(connection, [f"{topic}.embeddings"], num_expected=4)
            letters = await read_outputs(connection, [f"{topic}.dlq"], num_expected=2)
            assert await worker.end(signal.SIGTERM) == 0
        entities, vectors = await read_avro(url, results), await read_avro(url, embeddings)
        await asyncio.to_thread(look, settings)
    assert [value["id"] for value in entities] == ["1", "4", "5", "6"]
    assert [entity["text"] for entity in entities[0]["entities"]] == ["Ada Lovelace", "London"]
    assert [len(value["embedding"]) for value in vectors] == [384] * 4
    failures = [json.loads(letter.value or b"") for letter in letters]
    assert [failure["stage"] for failure in failures] == ["decode", "decode"]
    assert failures[0]["message"].startswith("the value does not fit the Avro schema ")
    assert failures[1]["message"] == "the value of schema 999999: the schema registry has no schema with this id"
    assert base64.b64decode(failures[0]["payload"]) == broken


def look(settings: Settings) -> None:
    """Use the commands that an operator has with these settings."""
    try_records(settings, count=1)
    check(settings)
