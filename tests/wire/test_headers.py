"""Headers of outputs: headers about the input value are dropped, and an output of an event is an event of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.__main__ import FOLDER
from worker.records import (
    Classification,
    Failure,
    Item,
    Output,
    Partition,
    Prediction,
    Record,
    Stage,
    Task,
    TokenizedItem,
    Tokens,
    Tombstone,
)
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, encode, encode_dead_letter, encode_tombstone
from worker.wire.headers import copy_headers, read_headers

if TYPE_CHECKING:
    from worker.records import Headers, Message

LIMITS = Limits()
FAILURE = Failure(Stage.INFER, "HeadError", "no", Task.NER)
EVENT: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/tickets"),
    ("ce_type", b"ticket.created"),
    ("ce_dataschema", b"https://example.com/ticket.json"),
    ("ce_subject", b"42"),
    ("ce_time", b"2026-01-31T12:00:00Z"),
)


def outputs(headers: Headers, *, offset: int = 7, model: str = "m@1") -> list[Message]:
    """Return the messages for a record with these headers: embedding, labels, entities, and dead letters of two tasks."""
    record = Record(Partition("texts", 3), offset, b"k", b"{}", headers, 99)
    zeros = np.zeros(3, dtype=np.int32)
    tokens = Tokens(zeros, np.zeros((3, 2), dtype=np.int32), zeros, truncated=False)
    labels = {"sentiment": Classification("good", 0.5, {"good": 0.5, "bad": 0.5})}
    failures = (FAILURE, replace(FAILURE, task=Task.EMBED))
    prediction = Prediction(np.array([1.0], dtype=np.float32), labels, (), failures)
    item = TokenizedItem(Item(record, "id-1", "text", frozenset(Task)), tokens)
    return list(encode(item, prediction, model_name=model, encoding=EmbeddingEncoding.FLOAT, limits=LIMITS).messages)


def tombstones(headers: Headers) -> list[Message]:
    """Return the messages for a tombstone with these headers."""
    record = Record(Partition("texts", 3), 7, b"k", None, headers, 99)
    return list(encode_tombstone(Tombstone(record), tasks=frozenset(Task)).messages)


def test_every_output_of_an_event_is_an_event_of_its_own() -> None:
    """The id and type of each output are unique, and its schema is that of its value."""
    found = [read_headers(message.headers) for message in (*outputs(EVENT), *tombstones(EVENT))]
    ids = {header["ce_id"] for header in found}
    assert len(ids) == len(found) == 8
    assert b"e-1" not in ids
    assert {header["ce_causationid"] for header in found} == {b"e-1"}
    assert [header["ce_type"] for header in found] == [
        b"gist-stream.embedding.v1",
        b"gist-stream.labels.v1",
        b"gist-stream.entities.v1",
        b"gist-stream.dead_letter.v1",
        b"gist-stream.dead_letter.v1",
        b"gist-stream.embedding.tombstone.v1",
        b"gist-stream.labels.tombstone.v1",
        b"gist-stream.entities.tombstone.v1",
    ]
    assert {(header["ce_source"], header["ce_subject"], header["ce_time"]) for header in found} == {
        (b"/tickets", b"42", b"2026-01-31T12:00:00Z")
    }


def test_the_schema_of_an_event_is_the_one_of_its_file() -> None:
    """The schema is the `$id` of the file; a tombstone has no data and therefore no schema."""
    names = ("embedding", "labels", "entities", "dead_letter", "dead_letter")
    for message, name in zip(outputs(EVENT), names, strict=True):
        headers = read_headers(message.headers)
        assert headers["ce_dataschema"].decode() == json.loads((FOLDER / f"{name}.schema.json").read_text())["$id"]
        assert headers["content-type"] == b"application/json"
    assert all("ce_dataschema" not in read_headers(message.headers) for message in tombstones(EVENT))


ATTRIBUTES = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "ce_source", "ce_type", "ce_dataschema", "ce_datacontenttype", "content-type", "ce_causationid"]),
        st.none() | st.binary(max_size=10) | st.sampled_from([b"e-1", b"a/b", b"a\0b", b"\xff"]),
    ),
    max_size=8,
).map(tuple)


@given(headers=ATTRIBUTES, offset=st.integers(0, 9))
def test_attributes_are_there_once_whatever_the_event_says(headers: Headers, offset: int) -> None:
    """For null, empty, repeated and non-UTF-8 attributes, ids are unique, valid, and equal when the record is published again."""
    event = (("ce_specversion", b"1.0"), *headers)
    published = [*outputs(event, offset=offset), *tombstones(event)]
    for message in published:
        names = [name for name, _ in message.headers]
        assert all(names.count(name) == 1 for name in ("ce_specversion", "ce_id", "ce_type"))
        assert names.count("ce_dataschema") == (message.value is not None)
        assert "ce_datacontenttype" not in names
        assert {value for name, value in message.headers if name == "content-type"} <= {b"application/json"}
    ids = [read_headers(message.headers)["ce_id"].decode() for message in published]
    assert len(set(ids)) == len(ids)
    assert ids == [
        read_headers(message.headers)["ce_id"].decode() for message in (*outputs(event, offset=offset), *tombstones(event))
    ]


@given(ids=st.lists(st.text(st.sampled_from("ab/-:.|\0"), min_size=1, max_size=6), min_size=2, max_size=4, unique=True))
def test_ids_of_outputs_of_different_events_differ(ids: list[str]) -> None:
    """The ids differ for any separators in the ids of the events, and for models with different names."""
    found = [
        read_headers(message.headers)["ce_id"]
        for event_id in ids
        for model in ("m@1", "m@2")
        for message in outputs((("ce_specversion", b"1.0"), ("ce_id", event_id.encode())), model=model)
    ]
    assert len(set(found)) == len(found)


def test_events_without_an_id_are_told_apart_by_their_place() -> None:
    """The outputs of events without an id, or with a null id, still have different ids."""
    for headers in ((("ce_specversion", b"1.0"),), (("ce_specversion", b"1.0"), ("ce_id", None))):
        found = [read_headers(message.headers)["ce_id"] for offset in (1, 2) for message in outputs(headers, offset=offset)]
        assert len(set(found)) == len(found)


def test_a_later_letter_of_an_event_is_another_event() -> None:
    """The dead letter of a record that fails after a replay has another id than the first dead letter."""
    record = Record(Partition("texts", 3), 7, b"k", b"{}", EVENT)
    again = replace(record, offset=9, headers=(("gist-attempt", b"2"), *EVENT))
    letters = [encode_dead_letter(source, FAILURE, model_name="m@1", limits=LIMITS).messages[0] for source in (record, again)]
    assert len({read_headers(message.headers)["ce_id"] for message in letters}) == 2
    assert all(json.loads(letter.value or b"")["headers"][1]["value"] == "ZS0x" for letter in letters)


@pytest.mark.parametrize("headers", [(), (("ce_id", b"e-1"), ("ce_type", b"t")), (("ce_specversion", None), ("ce_id", b"e-1"))])
def test_a_request_without_cloudevents_headers_gets_no_cloudevents_headers(headers: Headers) -> None:
    """The headers of the record are copied without a change."""
    for message in (*outputs(headers), *tombstones(headers)):
        assert tuple(header for header in message.headers if not header[0].startswith("gist-")) == headers


NOT_COPIED = [
    "__TypeId__",
    "__ContentTypeId__",
    "__KeyTypeId__",
    "spring_json_header_types",
    "json__TypeId__",
    "json__ContentTypeId__",
    "json__KeyTypeId__",
    "json_resolvableType",
    "contentType",
    "axon-message-type",
    "axon-message-revision",
    "__value_schema_id",
    "value.schema.version.id",
    "apicurio.value.globalId",
    "apicurio.value.encoding",
    "Content-Encoding",
    "content-length",
    "gist-model",
]
COPIED = ["__Key_TypeId__", "__key_schema_id", "key.schema.version.id", "apicurio.key.globalId", "traceparent", "message-type", "É"]


@given(names=st.lists(st.sampled_from(NOT_COPIED + COPIED), max_size=12), value=st.none() | st.binary(max_size=5))
def test_headers_that_describe_the_old_value_are_not_copied(names: list[str], value: bytes | None) -> None:
    """Type, schema and encoding of the input value are dropped; headers about the key and all others keep their order."""
    record = Record(Partition("texts", 0), 1, b"k", b"{}", tuple((name, value) for name in names))
    assert copy_headers(record) == tuple((name, value) for name in names if name in COPIED)


def test_a_dead_letter_holds_the_headers_that_its_message_leaves_out() -> None:
    """A replay sends these headers again with the value that they describe."""
    headers = (("__TypeId__", b"com.example.Ticket"), ("spring_json_header_types", b"{}"), *EVENT)
    record = Record(Partition("texts", 3), 7, b"k", b"{}", headers)
    (message,) = encode_dead_letter(record, FAILURE, model_name="m@1", limits=LIMITS).messages
    assert message.output is Output.DEAD_LETTERS
    assert [header["name"] for header in json.loads(message.value or b"")["headers"]] == [name for name, _ in headers]
    assert "__TypeId__" not in dict(message.headers)
