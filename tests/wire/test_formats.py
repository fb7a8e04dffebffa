"""The formats of results: what a stock reader of each format returns is the plain JSON of the worker."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fastavro
import numpy as np
import orjson
import pytest
from jsonschema import Draft7Validator

from schemas import v1
from schemas.derived import build_connect_schema
from tests.makers import PARTITION, tokenized
from tests.wire.test_layouts import PREDICTION, item
from worker.records import Classification, Outcome, Output, Prediction, Record
from worker.wire.chunks import encode_in_chunks
from worker.wire.content import WireForm
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, encode
from worker.wire.formats import (
    OutputFormat,
    build_connect_serializer,
    build_registered_serializer,
    build_result_schema,
    dump_json,
    name_subject,
    set_content_type,
)
from worker.wire.layouts import build_layout
from worker.wire.registered.content import RegisteredForm, build_value_reader
from worker.wire.registered.frame import read_schema_id
from worker.wire.result_values import read_json_value

if TYPE_CHECKING:
    from worker.wire.formats import Serialize

RICH = replace(
    PREDICTION,
    embedding=np.random.default_rng(0).normal(size=384).astype(np.float32),
    labels={"tags": Classification("a", 0.7, {"a": 0.7, "b": 0.2}, labels=("a",))},
    values={"quality": {"grade": 3.25}},
)
OUTPUTS = (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES, Output.FLAT)


def registered(output_format: OutputFormat, encoding: EmbeddingEncoding, *, result_field: str = "gist") -> tuple[Serialize, Any]:
    """Return a serializer with the ids 1, 2, … of the outputs, and the schemas by id."""
    outputs = [*OUTPUTS, *([Output.ENRICHED] if output_format is OutputFormat.JSON_SCHEMA else [])]
    has_numbers = encoding is EmbeddingEncoding.FLOAT
    schemas = {
        output: build_result_schema(output, output_format, has_numbers=has_numbers, result_field=result_field) for output in outputs
    }
    ids = {(PARTITION.topic, output): number for number, output in enumerate(outputs, start=1)}
    return build_registered_serializer(output_format, schemas, ids), dict(enumerate(schemas.values(), start=1))


def results(prediction: Prediction, encoding: EmbeddingEncoding, serialize: Serialize, *, has_origin: bool) -> list[Outcome]:
    """Return the outcomes of both layouts, and of a text in chunks."""
    made = tokenized(7, 3)
    options: dict[str, Any] = {"model_name": "m@1", "limits": Limits()}
    flat = build_layout(Output.FLAT, encoding=encoding, result_field="gist", collection="c", serialize=serialize)
    split: dict[str, Any] = {**options, "encoding": encoding, "has_origin": has_origin, "serialize": serialize}
    return [
        encode(made, prediction, **split),
        flat.encode(made, prediction, **options),
        encode_in_chunks(made, prediction, **split),
    ]


@pytest.mark.parametrize("encoding", list(EmbeddingEncoding))
@pytest.mark.parametrize("has_origin", [False, True])
@pytest.mark.parametrize("output_format", [OutputFormat.AVRO, OutputFormat.JSON_SCHEMA, OutputFormat.CONNECT_JSON])
def test_every_result_is_the_plain_json_in_another_format(
    encoding: EmbeddingEncoding, output_format: OutputFormat, *, has_origin: bool
) -> None:
    """Numbers included: a vector is float32 in all formats."""
    form: Any = WireForm()
    if output_format is OutputFormat.CONNECT_JSON:
        serialize = build_connect_serializer(has_numbers=encoding is EmbeddingEncoding.FLOAT)
    else:
        serialize, schemas = registered(output_format, encoding)
        readers = {number: build_value_reader(schema) for number, schema in schemas.items()}
        form = RegisteredForm(readers.get)
    plain = results(RICH, encoding, dump_json, has_origin=has_origin)
    formatted = results(RICH, encoding, serialize, has_origin=has_origin)
    for expected, found in zip(plain, formatted, strict=True):
        for wanted, message in zip(expected.messages, found.messages, strict=True):
            value = json.loads(read_json_value(message.value or b"", form))
            wanted_value = json.loads(wanted.value or b"")
            if output_format is OutputFormat.AVRO and encoding is EmbeddingEncoding.FLOAT and "embedding" in value:
                assert np.array_equal(np.float32(value.pop("embedding")), np.float32(wanted_value.pop("embedding")))
            assert value == wanted_value


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_stock_avro_reader_reads_a_result(output: Output) -> None:
    """The written schema and fastavro suffice; absent results are null."""
    (serialize, schemas), found = registered(OutputFormat.AVRO, EmbeddingEncoding.FLOAT), list[Any]()
    for prediction in (RICH, Prediction(embedding=np.ones(3, dtype=np.float32), labels={}, entities=())):
        for outcome in results(prediction, EmbeddingEncoding.FLOAT, serialize, has_origin=True)[:2]:
            for message in outcome.messages:
                if message.output is output:
                    value = message.value or b""
                    schema = fastavro.parse_schema(json.loads(schemas[read_schema_id(value)].text))
                    stream = io.BytesIO(value[5:])
                    read: Any = fastavro.schemaless_reader(stream, schema, None)
                    assert stream.read() == b""
                    found.append(read["id"])
    assert set(found) == {"id-7"}


def test_a_flat_result_without_a_vector_is_written() -> None:
    """The optional vector is null."""
    serialize, schemas = registered(OutputFormat.AVRO, EmbeddingEncoding.FLOAT)
    (message,) = results(replace(RICH, embedding=None), EmbeddingEncoding.FLOAT, serialize, has_origin=False)[1].messages
    value: Any = build_value_reader(schemas[4])(message.value or b"")
    assert (value["embedding"], value["dim"], value["tokens"]) == (None, None, 3)


def test_an_enriched_result_fits_its_json_schema() -> None:
    """The fields of the input are free, and the results have the chosen name."""
    serialize, schemas = registered(OutputFormat.JSON_SCHEMA, EmbeddingEncoding.FLOAT, result_field="nlp")
    layout = build_layout(
        Output.ENRICHED, encoding=EmbeddingEncoding.FLOAT, result_field="nlp", collection="c", serialize=serialize
    )
    outcome = layout.encode(item(b'{"text": "hello", "n": 1}'), PREDICTION, model_name="m@1", limits=Limits())
    value = outcome.messages[0].value or b""
    validator = Draft7Validator(json.loads(schemas[5].text))
    validator.validate(orjson.loads(value[5:]))
    assert not validator.is_valid({"text": "hello"})


def test_the_schema_of_connect_has_every_field_of_the_payload() -> None:
    """Kafka's converter takes the optional ones as null."""
    schema = build_connect_schema(v1.Flat, has_numbers=True)
    assert {field["field"] for field in schema["fields"]} == set(v1.Flat.model_fields)
    vector = next(field for field in schema["fields"] if field["field"] == "embedding")
    assert vector == {"field": "embedding", "type": "array", "items": {"type": "double", "optional": False}, "optional": True}
    text = build_connect_schema(v1.Embedding, has_numbers=False)
    assert next(field for field in text["fields"] if field["field"] == "embedding")["type"] == "string"


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [("topic", "t.flat-value"), ("record", "gist_stream.v1.Flat"), ("topic_record", "t.flat-gist_stream.v1.Flat")],
)
def test_the_subject_follows_the_strategy(strategy: str, subject: str) -> None:
    """The names are those of Confluent's strategies."""
    assert name_subject(strategy, "t.flat", Output.FLAT) == subject


def test_the_content_type_of_an_input_becomes_that_of_the_result() -> None:
    """A tombstone has no value, and a dead letter is JSON."""
    headers = (("Content-Type", b"application/json"), ("a", b"b"))
    outcome = encode(
        replace(tokenized(1, 3), item=replace(tokenized(1, 3).item, record=Record(PARTITION, 1, b"k", b"{}", headers))),
        PREDICTION,
        model_name="m",
        encoding=EmbeddingEncoding.FLOAT,
        limits=Limits(),
    )
    changed = set_content_type(outcome, OutputFormat.AVRO.content_type)
    assert {dict(message.headers)["Content-Type"] for message in changed.messages} == {b"application/avro"}
    assert {dict(message.headers)["a"] for message in changed.messages} == {b"b"}
