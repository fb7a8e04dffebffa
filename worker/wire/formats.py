"""Serializes the values of results: JSON, Avro, JSON Schema, and the JSON of Kafka Connect. Pure.

Dead letters are JSON in every format: they must be written, and read, while a schema registry is away.
"""

from __future__ import annotations

import io
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson

from worker.records import Output
from worker.wire.content import dump_bytes
from worker.wire.registered.frame import RegisteredSchema, build_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel

    from worker.records import Outcome, Record

    # Returns the bytes of a value for an output of a record. Raises `orjson.JSONEncodeError` for an input that JSON cannot have.
    Serialize: TypeAlias = Callable[[Output, Record, dict[str, Any]], bytes]

_CONTENT_TYPE = "content-type"
# The models of the wire contract, in `schemas.v1`.
_MODELS: Mapping[Output, str] = {
    Output.EMBEDDINGS: "Embedding",
    Output.LABELS: "Labels",
    Output.ENTITIES: "Entities",
    Output.ENRICHED: "Enriched",
    Output.FLAT: "Flat",
    Output.QDRANT: "QdrantPoint",
}


class OutputFormat(StrEnum):
    """The format of the values of results."""

    JSON = "json"
    AVRO = "avro"
    JSON_SCHEMA = "json_schema"
    CONNECT_JSON = "connect_json"

    @property
    def is_registered(self) -> bool:
        """Whether the values have the id of a registered schema."""
        return self in {OutputFormat.AVRO, OutputFormat.JSON_SCHEMA}

    @property
    def content_type(self) -> bytes:
        """The content type of the values."""
        types = {OutputFormat.AVRO: b"application/avro", OutputFormat.JSON_SCHEMA: b"application/octet-stream"}
        return types.get(self, b"application/json")


def dump_json(_output: Output, _record: Record, value: dict[str, Any]) -> bytes:
    """Return a value as JSON, the default format."""
    return orjson.dumps(value, default=dump_bytes, option=orjson.OPT_SERIALIZE_NUMPY)


def build_result_schema(output: Output, output_format: OutputFormat, *, has_numbers: bool, result_field: str) -> RegisteredSchema:
    """Return the schema of an output for a registry."""
    from schemas.derived import build_avro_schema, build_registry_json_schema  # noqa: PLC0415  plain JSON needs no schema

    model = _find_model(output)
    if output_format is OutputFormat.AVRO:
        return RegisteredSchema("AVRO", orjson.dumps(build_avro_schema(model, has_numbers=has_numbers)).decode())
    return RegisteredSchema("JSON", orjson.dumps(build_registry_json_schema(model, result_field=result_field)).decode())


def name_subject(strategy: str, topic: str, output: Output) -> str:
    """Return the subject of the schema of an output by the strategy `topic`, `record` or `topic_record`."""
    from schemas.derived import name_record  # noqa: PLC0415  the same

    record = name_record(_find_model(output))
    return {"topic": f"{topic}-value", "record": record, "topic_record": f"{topic}-{record}"}[strategy]


def build_registered_serializer(
    output_format: OutputFormat, schemas: Mapping[Output, RegisteredSchema], ids: Mapping[tuple[str, Output], int]
) -> Serialize:
    """Return the function that serializes with registered schemas; `ids` has the id for each input topic and output."""
    prefixes = {place: build_prefix(schema_id) for place, schema_id in ids.items()}
    if output_format is OutputFormat.JSON_SCHEMA:
        return lambda output, record, value: prefixes[record.partition.topic, output] + dump_json(output, record, value)
    writers = {output: _build_avro_writer(orjson.loads(schema.text)) for output, schema in schemas.items()}
    return lambda output, record, value: prefixes[record.partition.topic, output] + writers[output](value)


def build_connect_serializer(*, has_numbers: bool) -> Serialize:
    """Return the function that wraps a value in the envelope of Kafka Connect, with its schema."""
    from schemas.derived import build_connect_schema  # noqa: PLC0415  the same

    beginnings: dict[Output, bytes] = {
        output: b'{"schema":' + orjson.dumps(build_connect_schema(_find_model(output), has_numbers=has_numbers)) + b',"payload":'
        for output in _MODELS
        if output not in {Output.ENRICHED, Output.QDRANT}
    }
    return lambda output, record, value: beginnings[output] + dump_json(output, record, value) + b"}"


def _find_model(output: Output) -> type[BaseModel]:
    from schemas import v1  # noqa: PLC0415  the same

    model: type[BaseModel] = getattr(v1, _MODELS[output])
    return model


def set_content_type(outcome: Outcome, content_type: bytes) -> Outcome:
    """Return an outcome whose results have a content type, where their record has one."""
    messages = tuple(
        message
        if message.output is Output.DEAD_LETTERS or message.value is None
        else replace(
            message,
            headers=tuple((name, content_type if name.lower() == _CONTENT_TYPE else value) for name, value in message.headers),
        )
        for message in outcome.messages
    )
    return replace(outcome, messages=messages)


def _build_avro_writer(schema: dict[str, Any]) -> Callable[[dict[str, Any]], bytes]:
    """Return the function that writes a value. The bytes of a record are those of its fields, one after the other.

    A vector is one block of numbers in the order of float32, which numpy writes many times faster than a list.
    """
    from fastavro import parse_schema, schemaless_writer  # noqa: PLC0415  an optional dependency

    fields = schema["fields"]
    at = next((number for number, field in enumerate(fields) if _is_vector(field["type"])), len(fields))
    named: dict[str, Any] = {}
    parts = [fields[:at], fields[at + 1 :]]
    # Both parts have the names of one record, because only the bytes count.
    head, tail = (
        parse_schema({**schema, "name": f"{schema['name']}{number}", "fields": part}, named) for number, part in enumerate(parts)
    )
    count, vector = parse_schema("long"), fields[at] if at < len(fields) else None
    is_optional = vector is not None and isinstance(vector["type"], list)

    def write(value: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        schemaless_writer(stream, head, value)
        if vector is not None:
            numbers = value.get(vector["name"])
            stream.write(b"\x02" if is_optional and numbers is not None else b"")
            if numbers is not None and len(numbers):
                schemaless_writer(stream, count, len(numbers))
                stream.write(np.asarray(numbers, dtype="<f4").tobytes())
            # The end of the array, or the null of an optional vector.
            stream.write(b"\x00")
        schemaless_writer(stream, tail, value)
        return stream.getvalue()

    return write


def _is_vector(kind: Any) -> bool:
    plain = kind[-1] if isinstance(kind, list) else kind
    return isinstance(plain, dict) and plain.get("items") == "float"
