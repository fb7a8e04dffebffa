"""The join of input records and outputs in memory, and its bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from tests.makers import PARTITION, tokenized
from worker.console.event_hub import format_event
from worker.console.record_store import Place, RecordStore
from worker.records import Classification, Failure, Message, Output, Partition, PredictedEntity, Prediction, Record, Stage, Task
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, encode, encode_dead_letter
from worker.wire.layouts import build_layout
from worker.wire.mapping import InputMapping, build_decoder

VALUE = b'{"id": "id-1", "text": "hello \xf0\x9f\x9a\x80 <b>Ada</b>"}'
PREDICTION = Prediction(
    embedding=np.array([0.6, -0.8], dtype=np.float32),
    labels={"sentiment": Classification("positive", 0.75, {"positive": 0.75})},
    entities=(PredictedEntity("PER", "Ada", 11, 14, 0.9, "ner"),),
)


def build_store(output: Output | None = None, **bounds: int) -> RecordStore:
    """Return a store of a layout; None is the layout `split`."""
    names = [*Output][:4] if output is None else [output, Output.DEAD_LETTERS]
    decode = build_decoder(InputMapping(), limits=Limits(), tasks=frozenset(Task))
    return RecordStore(outputs={f"texts.{name}": name for name in names}, decode=decode, result_field="nlp", **bounds)


def build_source(offset: int = 1, value: bytes | None = VALUE) -> Record:
    """Return an input record."""
    return Record(PARTITION, offset, b"key", value, timestamp_ms=1_000)


def publish(messages: tuple[Message, ...], *, at_ms: int = 1_040) -> list[Record]:
    """Return the records of messages in their topics."""
    return [
        Record(Partition(f"texts.{message.output}", 0), number, message.key, message.value, message.headers, at_ms)
        for number, message in enumerate(messages)
    ]


def build_outputs(output: Output | None = None, offset: int = 1) -> list[Record]:
    """Return the outputs of an input record."""
    item = tokenized(offset, 3)
    item = replace(item, item=replace(item.item, record=build_source(offset)))
    if output is None:
        return publish(encode(item, PREDICTION, model_name="m@1", encoding=EmbeddingEncoding.FLOAT, limits=Limits()).messages)
    layout = build_layout(output, encoding=EmbeddingEncoding.FLOAT, result_field="nlp", collection="c")
    return publish(layout.encode(item, PREDICTION, model_name="m@1", limits=Limits()).messages)


def get_row(store: RecordStore, offset: int = 1) -> dict[str, Any]:
    """Return the row of a record that is there."""
    row = store.build_row(("texts", 0, offset))
    assert row is not None
    return row


@pytest.mark.parametrize("output", [None, Output.ENRICHED, Output.FLAT, Output.QDRANT])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_record_is_joined_in_any_order_and_layout(output: Output | None, *, is_reversed: bool) -> None:
    """Text, labels, entities, model and latency come from the input record and its outputs, and the vector is searchable."""
    store = build_store(output)
    parts = [build_source(), *build_outputs(output)]
    places = {store.add(part) for part in (reversed(parts) if is_reversed else parts)}
    assert places == {("texts", 0, 1)}
    row = get_row(store)
    assert row["text"] == "hello 🚀 <b>Ada</b>"
    assert row["labels"]["sentiment"]["label"] == "positive"
    assert [entity["text"] for entity in row["entities"]] == ["Ada"]
    assert (row["model"], row["latency_ms"], row["dead_letter"]) == ("m@1", 40, None)
    ((place, cosine),) = store.index.nearest(np.array([0.6, -0.8], np.float32), model="m@1", count=3)
    assert (place, round(cosine, 5)) == (("texts", 0, 1), 1)


def test_a_text_that_has_not_arrived_is_unknown() -> None:
    """Outputs of the layout `split` without their input record have no text, but their results."""
    store = build_store()
    for part in build_outputs():
        store.add(part)
    assert get_row(store)["text"] is None
    assert get_row(store)["latency_ms"] == 40


def test_the_chunks_of_a_text_are_one_row() -> None:
    """The row has the id of the record and the number of chunks, and each chunk has a vector in the search."""
    store = build_store()
    for number in range(3):
        chunk = {"id": f"a#{number}", "parent": "a", "number": number, "count": 3, "embedding": [0.6, 0.8], "dim": 2}
        value = orjson.dumps(chunk | {"encoding": "float"})
        store.add(Record(Partition("texts.embeddings", 0), number, None, value, build_outputs()[0].headers))
    assert (len(store), get_row(store)["id"], get_row(store)["num_chunks"], len(store.index)) == (1, "a", 3, 3)


def test_a_dead_letter_has_stage_and_reason() -> None:
    """A record that is not decoded has the reason of the dead letter, and its value in the details."""
    store, source = build_store(), build_source(value=b"{oops")
    outcome = encode_dead_letter(source, Failure(Stage.DECODE, "InvalidRecord", "no JSON"), model_name="m@1", limits=Limits())
    for part in [source, *publish(outcome.messages)]:
        store.add(part)
    assert get_row(store)["dead_letter"] == {"stage": "decode", "message": "no JSON", "task": None}
    details = store.describe(("texts", 0, 1))
    assert details is not None
    assert details["source"]["value"] == "{oops"
    assert [result["output"] for result in details["results"]] == ["dlq"]


def test_details_have_no_vector_and_fit_json() -> None:
    """The details list each output with its delay and headers; vectors are left out."""
    store = build_store()
    for part in [build_source(), *build_outputs()]:
        store.add(part)
    details = store.describe(("texts", 0, 1))
    assert details is not None
    assert details["is_searchable"]
    assert {result["output"]: result["after_ms"] for result in details["results"]} == {
        "embeddings": 40,
        "labels": 40,
        "entities": 40,
    }
    assert b"0.6" not in orjson.dumps(details["results"][0]["value"])
    assert store.describe(("texts", 0, 2)) is None


@pytest.mark.parametrize("value", [b"not JSON", b"[1]", b"\xff"])
def test_a_foreign_message_is_left_out(value: bytes) -> None:
    """A message of an output topic that is no output of a worker belongs to no record."""
    store = build_store()
    headers = build_outputs()[0].headers
    assert store.add(Record(Partition("texts.labels", 0), 0, None, value, headers)) is None
    assert store.add(Record(Partition("texts.labels", 0), 0, None, b"{}")) is None
    assert len(store) == 0


def test_an_output_with_another_form_is_named() -> None:
    """An output that cannot be read does not hide the text; the row names the problem."""
    store = build_store()
    store.add(build_source())
    store.add(Record(Partition("texts.embeddings", 0), 0, None, b'{"embedding": 7}', build_outputs()[0].headers))
    assert get_row(store)["text"].startswith("hello")
    assert "cannot be read" in get_row(store)["problem"]


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("embeddings", b'{"parent": "p", "count": "abc"}'),
        ("embeddings", b'{"parent": "p", "count": 1e300}'),
        ("embeddings", b'{"embedding": [[1, 2], [3, 4]], "dim": 2, "encoding": "float"}'),
        ("labels", b'{"chunks": [1, 2]}'),
        ("labels", b'{"labels": [1]}'),
        ("labels", b'{"labels": {"topic": {"label": 1, "score": "x"}}}'),
        ("labels", b'{"labels": {"topic": {"label": "a", "score": 1.0, "labels": 5}}}'),
        ("labels", b'{"deep": ' + b"[" * 252 + b"]" * 252 + b"}"),
        ("entities", b'{"entities": 5}'),
        ("dlq", b'{"chunks": [1], "deep": ' + b"[" * 252 + b"]" * 252 + b"}"),
    ],
)
def test_no_value_of_an_output_ends_the_console(output: str, value: bytes) -> None:
    """The page gets an event for each value that any client may have written."""
    store = build_store()
    store.add(build_source())
    store.add(Record(Partition(f"texts.{output}", 0), 0, None, value, build_outputs()[0].headers))
    row = get_row(store)
    assert row["text"].startswith("hello")
    assert row["labels"] is None
    assert row["entities"] is None
    format_event("records", {"rows": [row]})
    format_event("records", store.describe(("texts", 0, 1)))


@pytest.mark.parametrize("number", [b"--5", b"9" * 20, b"9" * 5_000, b""])
def test_a_header_that_is_no_number_does_not_end_the_console(number: bytes) -> None:
    """An output without a valid origin is foreign; one without a valid time has no delay."""
    store, names = build_store(), ("gist-source-partition", "gist-source-offset", "gist-source-timestamp")
    for name in names:
        headers = tuple((own, number if own == name else value) for own, value in build_outputs()[0].headers)
        place = store.add(Record(Partition("texts.labels", 0), 0, None, b'{"labels": {}}', headers))
        assert (place is None) is (name != names[-1])
    format_event("records", get_row(store))
    assert get_row(store)["latency_ms"] is None


def test_headers_of_outputs_count_towards_the_bound() -> None:
    store = build_store(max_bytes=30_000)
    for offset in range(10):
        (output, *_) = build_outputs(offset=offset)
        store.add(replace(output, value=None, headers=(*output.headers, ("big", b"a" * 10_000))))
    assert len(store) == 2


def test_a_row_has_a_bounded_number_of_entities() -> None:
    """The page gets many rows at once."""
    store = build_store()
    store.add(build_source())
    entities = [{"type": "PER", "text": "Ada", "start": number, "end": number + 1, "score": 0.9} for number in range(1_000)]
    store.add(Record(Partition("texts.entities", 0), 0, None, orjson.dumps({"entities": entities}), build_outputs()[0].headers))
    assert get_row(store)["entities"] == entities[:200]


def test_a_row_has_a_bounded_number_of_labels() -> None:
    """A row leaves out the scores of the labels that were not chosen; the details have the whole output."""
    store = build_store()
    store.add(build_source())
    names = [f"label-{number}" for number in range(1_000)]
    own = {"label": names[0], "score": 0.9, "labels": names, "scores": dict.fromkeys(names, 0.9)}
    value = orjson.dumps({"labels": {f"head-{number}": own for number in range(200)}})
    store.add(Record(Partition("texts.labels", 0), 0, None, value, build_outputs()[0].headers))
    labels = get_row(store)["labels"]
    assert list(labels) == [f"head-{number}" for number in range(100)]
    assert labels["head-0"] == {"label": names[0], "score": 0.9, "labels": names[:100]}
    details = store.describe(("texts", 0, 1))
    assert details is not None
    assert details["results"][0]["value"] == orjson.loads(value)


def test_the_oldest_records_make_room() -> None:
    """Neither the number of records nor their bytes grow beyond the bounds."""
    store = build_store(max_records=3)
    for offset in range(10):
        store.add(build_source(offset))
    assert store.list_newest(9) == [("texts", 0, offset) for offset in (7, 8, 9)]
    small = build_store(max_bytes=4 * len(VALUE))
    for offset in range(10):
        small.add(build_source(offset))
    newest: Place = ("texts", 0, 9)
    assert small.list_newest(9) == [newest]
