"""Layouts: one message with all results of a record, or one dead letter."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from tests.makers import PARTITION, tokenized
from worker.errors import RecordFailed
from worker.records import (
    Classification,
    Failure,
    Output,
    PredictedEntity,
    Prediction,
    Record,
    Stage,
    Task,
    TokenizedItem,
    Tombstone,
    Window,
)
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding
from worker.wire.layouts import Layout, build_layout, build_point_id
from worker.wire.result_values import read_results

if TYPE_CHECKING:
    from pydantic import BaseModel

VECTOR = np.array([0.6, -0.8], dtype=np.float32)
PREDICTION = Prediction(
    embedding=VECTOR,
    labels={"sentiment": Classification("positive", 0.75, {"negative": 0.25, "positive": 0.75})},
    entities=(PredictedEntity("PER", "Ada", 0, 3, 0.9, "ner"),),
)
MODELS: dict[Output, type[BaseModel]] = {
    Output.ENRICHED: schemas.Enriched,
    Output.FLAT: schemas.Flat,
    Output.QDRANT: schemas.QdrantPoint,
}


def layout(output: Output, encoding: EmbeddingEncoding = EmbeddingEncoding.FLOAT, *, has_origin: bool = False) -> Layout:
    """Return a layout with the default field, and the collection `things`."""
    return build_layout(output, encoding=encoding, result_field="gist", collection="things", has_origin=has_origin)


def item(value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> TokenizedItem:
    """Return an item of three tokens whose record has this value."""
    made = tokenized(7, 3)
    return replace(made, item=replace(made.item, record=Record(PARTITION, 7, b"k", value, headers, 5)))


def encoded(output: Output, value: bytes, prediction: Prediction = PREDICTION, **options: Any) -> dict[str, Any]:
    """Return the value of the only message, after a check against the model of the contract."""
    outcome = layout(output, **options).encode(item(value), prediction, model_name="m@1", limits=Limits())
    (message,) = outcome.messages
    assert (message.output, message.key) == (output, b"k")
    ours = [name for name, _ in message.headers if name.startswith("gist-")]
    assert ours == list(schemas.HEADERS[MODELS[output]])
    decoded: dict[str, Any] = orjson.loads(message.value or b"null")
    MODELS[output].model_validate(decoded)
    return decoded


def test_enriched_is_the_input_with_the_results_in_a_field() -> None:
    """Every other field of the input stays, and an old field of that name is replaced."""
    value = encoded(Output.ENRICHED, b'{"text":"Ada","n":[1,{"deep":null}],"gist":1}')
    results = value.pop("gist")
    assert value == {"text": "Ada", "n": [1, {"deep": None}]}
    assert results["embedding"] == pytest.approx([0.6, -0.8])
    assert results["labels"]["sentiment"]["label"] == "positive"
    assert [entity["text"] for entity in results["entities"]] == ["Ada"]
    assert (results["model"], results["tokens"], results["truncated"], results["dim"]) == ("m@1", 3, False, 2)
    assert "source" not in results


def test_the_origin_is_in_the_value_on_request() -> None:
    """The source in the value is that of the headers."""
    value = encoded(Output.ENRICHED, b'{"text":"Ada"}', has_origin=True)
    assert value["gist"]["source"] == {"topic": "texts", "partition": 0, "offset": 7, "timestamp": 5}


def test_a_plain_text_becomes_an_object() -> None:
    """The enriched value of a plain text has the field `text`."""
    plain = item("Größe".encode(), (("content-type", b"text/plain"),))
    outcome = layout(Output.ENRICHED).encode(plain, PREDICTION, model_name="m@1", limits=Limits())
    assert json.loads(outcome.messages[0].value or b"")["text"] == "Größe"


def test_flat_has_no_nested_objects() -> None:
    """Labels and entities are strings of JSON; the vector is the only array."""
    value = encoded(Output.FLAT, b'{"text":"Ada","more":{"a":1}}')
    assert [name for name, field in value.items() if isinstance(field, (list, dict))] == ["embedding"]
    assert json.loads(value["entities"])[0]["text"] == "Ada"
    assert json.loads(value["labels"])["sentiment"]["score"] == 0.75
    assert (value["id"], value["text"], value["model"]) == ("id-7", "hello", "m@1")


def test_a_task_that_is_not_requested_has_no_field() -> None:
    """A record of one task has the results of that task alone."""
    only_labels = replace(PREDICTION, embedding=None, entities=None)
    flat = encoded(Output.FLAT, b'{"text":"Ada"}', only_labels)
    enriched = encoded(Output.ENRICHED, b'{"text":"Ada"}', only_labels)["gist"]
    for value in (flat, enriched):
        assert "labels" in value
        assert not value.keys() & {"embedding", "dim", "encoding", "entities"}


def test_a_point_has_what_the_connector_reads() -> None:
    """The connector needs collection, id and vector, and takes an object as payload; the record's id is in the payload."""
    value = encoded(Output.QDRANT, b'{"text":"Ada","n":1}')
    assert value["collection_name"] == "things"
    assert value["id"] == build_point_id("id-7")
    assert value["vector"] == pytest.approx([0.6, -0.8])
    assert (value["payload"]["id"], value["payload"]["n"], value["payload"]["gist"]["model"]) == ("id-7", 1, "m@1")
    with pytest.raises(RecordFailed, match="the record does not request the task embed"):
        encoded(Output.QDRANT, b'{"text":"Ada"}', replace(PREDICTION, embedding=None))


@given(identity=st.text(min_size=1) | st.integers(0, 2**70).map(str) | st.uuids().map(str) | st.just("007"))
def test_every_id_has_a_valid_id_of_a_point(identity: str) -> None:
    """The id is a number below 2^63 or a UUID, the same for the same record, and a number or a UUID keeps its value."""
    point = build_point_id(identity)
    assert point == build_point_id(identity)
    if isinstance(point, int):
        assert (str(point), point < 2**63) == (identity, True)
    else:
        assert str(uuid.UUID(point)) == point


@pytest.mark.parametrize("output", MODELS)
def test_a_failed_task_makes_the_record_a_dead_letter(output: Output) -> None:
    """The dead letter is about the whole record and names the task in its message."""
    failed = replace(PREDICTION, labels=None, failures=(Failure(Stage.INFER, "ValueError", "broken", Task.CLASSIFY),))
    outcome = layout(output).encode(item(b'{"text":"Ada"}'), failed, model_name="m@1", limits=Limits())
    (message,) = outcome.messages
    letter = json.loads(message.value or b"")
    assert (message.output, letter["task"], letter["message"]) == (Output.DEAD_LETTERS, None, "classify: broken")
    assert [failure.task for failure in outcome.failures] == [None]


def test_an_input_that_cannot_be_written_fails() -> None:
    """The encoder writes 254 levels, and the parser reads 1,024: the record becomes a dead letter."""
    with pytest.raises(RecordFailed, match="cannot be part of an output"):
        encoded(Output.ENRICHED, b'{"text":"Ada","deep":' + b"[" * 500 + b"]" * 500 + b"}")


@pytest.mark.parametrize("output", MODELS)
def test_a_tombstone_goes_to_the_topic_of_the_layout(output: Output) -> None:
    """Key and origin are those of the record."""
    outcome = layout(output).encode_tombstone(Tombstone(Record(PARTITION, 7, b"k", None, (("trace", b"1"),))))
    (message,) = outcome.messages
    assert (message.output, message.key, message.value) == (output, b"k", None)
    assert dict(message.headers)["gist-source-offset"] == b"7"
    assert dict(message.headers)["trace"] == b"1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.text(), JSON, max_size=5))
def test_every_object_keeps_its_fields(fields: dict[str, Any]) -> None:
    """The enriched object without its results is the input object."""
    fields.pop("gist", None)
    fields.pop("specversion", None)
    value = encoded(Output.ENRICHED, orjson.dumps(fields))
    assert value.pop("gist")["tokens"] == 3
    assert value == fields


def test_an_id_of_many_digits_has_an_id_of_a_point() -> None:
    """Python refuses to convert more than 4,300 digits, and GIST_MAX_ID_CHARS has no upper limit."""
    assert isinstance(build_point_id("9" * 5_000), str)


@pytest.mark.parametrize("output", [Output.FLAT, Output.QDRANT])
def test_each_chunk_of_a_text_is_a_message(output: Output) -> None:
    """A chunk has the labels of the text, the entities that begin in the chunk, and its place; the text is not repeated."""
    made = item(b'{"text": "Ada met Bob", "lang": "en"}')
    spans = np.array([(0, 0), (0, 3), (4, 7), (8, 11), (0, 0)], dtype=np.int32)
    windows = (Window(1, 3, 0, 3), Window(3, 4, 3, 5))
    made = TokenizedItem(
        replace(made.item, id="a", text="Ada met Bob"), replace(made.tokens, spans=spans, windows=windows, words=spans[:, 0])
    )
    people = (PredictedEntity("PER", "Ada", 0, 3, 0.9, "ner"), PredictedEntity("PER", "Bob", 8, 11, 0.8, "ner"))
    vectors = np.eye(2, dtype=np.float32)
    chunked = build_layout(output, encoding=EmbeddingEncoding.FLOAT, result_field="gist", collection="c", is_chunked=True)
    outcome = chunked.encode(made, replace(PREDICTION, entities=people, window_vectors=vectors), model_name="m@1", limits=Limits())
    values = [orjson.loads(message.value or b"") for message in outcome.messages]
    for value in values:
        MODELS[output].model_validate(value)
    assert [message.key for message in outcome.messages] == [b"k#0", b"k#1"]
    assert [dict(message.headers)["gist-chunks"] for message in outcome.messages] == [b"2", b"2"]
    results = [read_results({output: value}, "gist") for value in values]
    assert [result.id for result in results] == ["a#0", "a#1"]
    assert [(entity["text"], entity["start"]) for result in results for entity in result.entities or ()] == [("Ada", 0), ("Bob", 0)]
    parts = [value if output is Output.FLAT else value["payload"]["gist"] for value in values]
    assert [(part["text"], part["parent"], part["number"], part["start"]) for part in parts] == [
        ("Ada met", "a", 0, 0),
        ("Bob", "a", 1, 8),
    ]
    assert output is Output.FLAT or values[0]["payload"].keys() == {"lang", "id", "gist"}
    tombstone = chunked.encode_tombstone(Tombstone(made.item.record))
    assert (outcome.num_chunks, tombstone.num_chunks) == (2, 0)


def test_a_record_without_a_vector_is_one_message_without_chunks() -> None:
    """The record does not request the task embed."""
    chunked = build_layout(Output.FLAT, encoding=EmbeddingEncoding.FLOAT, result_field="gist", collection="c", is_chunked=True)
    outcome = chunked.encode(item(b"{}"), replace(PREDICTION, embedding=None), model_name="m@1", limits=Limits())
    assert ([message.key for message in outcome.messages], outcome.num_chunks) == ([b"k"], None)
