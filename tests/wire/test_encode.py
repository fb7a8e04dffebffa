"""Encoding: outputs follow the schemas, and dead letters stay within their size limit."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from worker.errors import InvariantBroken, RecordFailed
from worker.records import (
    Classification,
    Failure,
    Item,
    Output,
    Partition,
    PredictedEntity,
    Prediction,
    Record,
    Stage,
    Task,
    TokenizedItem,
    Tokens,
    Tombstone,
    UnreadableRange,
)
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, decode_embedding, encode, encode_dead_letter, encode_tombstone

if TYPE_CHECKING:
    from pydantic import BaseModel

LIMITS = Limits()
WHERE = Partition("texts", 3)
MODELS: dict[Output, type[BaseModel]] = {
    Output.EMBEDDINGS: schemas.Embedding,
    Output.LABELS: schemas.Labels,
    Output.ENTITIES: schemas.Entities,
    Output.DEAD_LETTERS: schemas.DeadLetter,
}


def tokenized(record: Record, *, truncated: bool = False) -> TokenizedItem:
    """Return an item of three tokens."""
    zeros = np.zeros(3, dtype=np.int32)
    tokens = Tokens(zeros, np.zeros((3, 2), dtype=np.int32), zeros, truncated=truncated)
    return TokenizedItem(Item(record, "id-1", "Ada in Paris", frozenset(Task)), tokens)


def predicted(vector: np.ndarray[Any, np.dtype[np.float32]]) -> Prediction:
    """Return a prediction for every task."""
    return Prediction(
        embedding=vector,
        labels={"sentiment": Classification("positive", 0.75, {"negative": 0.25, "positive": 0.75})},
        entities=(PredictedEntity("PER", "Ada", 0, 3, 0.9, "ner"),),
    )


def encoded(record: Record, prediction: Prediction, encoding: EmbeddingEncoding = EmbeddingEncoding.FLOAT) -> dict[Output, Any]:
    """Return the values by output."""
    outcome = encode(tokenized(record), prediction, model_name="m@1", encoding=encoding, limits=LIMITS)
    return {message.output: orjson.loads(message.value or b"null") for message in outcome.messages}


VECTOR = np.array([0.6, -0.8, 0.0], dtype=np.float32)


def test_values_have_model_and_source_on_request() -> None:
    """Each value has the two fields of the contract, and no value has them by default."""
    source, encoding = tokenized(Record(WHERE, 7, b"k", b"{}", timestamp_ms=9)), EmbeddingEncoding.FLOAT
    outcome = encode(source, predicted(VECTOR), model_name="m@1", encoding=encoding, limits=LIMITS, has_origin=True)
    for message in outcome.messages:
        value = orjson.loads(message.value or b"null")
        assert value["model"] == "m@1"
        assert value["source"] == {"topic": "texts", "partition": 3, "offset": 7, "timestamp": 9}
        MODELS[message.output].model_validate(value)


def test_every_output_follows_its_schema() -> None:
    """The models of the contract accept what the worker writes."""
    values = encoded(Record(WHERE, 7, b"k", b"{}"), predicted(VECTOR))
    assert set(values) == {Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES}
    for output, value in values.items():
        MODELS[output].model_validate(value)


def test_numbers_of_a_regression_are_apart_from_labels() -> None:
    """A consumer that reads `labels` alone meets no value without a probability."""
    prediction = Prediction(labels={}, values={"quality": {"grade": 3.25}})
    value = encoded(Record(WHERE, 7, b"k", b"{}"), prediction)[Output.LABELS]
    assert value == {"id": "id-1", "labels": {}, "values": {"quality": {"grade": 3.25}}}
    MODELS[Output.LABELS].model_validate(value)


def test_outputs_carry_the_key_the_headers_and_where_they_came_from() -> None:
    """The worker's `gist-` headers replace the input headers with that prefix."""
    record = Record(WHERE, 7, b"k", b"{}", (("trace", b"1"), ("null", None), ("gist-model", b"forged")), timestamp_ms=99)
    outcome = encode(
        tokenized(record, truncated=True), predicted(VECTOR), model_name="m@1", encoding=EmbeddingEncoding.FLOAT, limits=LIMITS
    )
    for message in outcome.messages:
        assert message.key == b"k"
        assert message.headers == (
            ("trace", b"1"),
            ("null", None),
            ("gist-source-topic", b"texts"),
            ("gist-source-partition", b"3"),
            ("gist-source-offset", b"7"),
            ("gist-source-timestamp", b"99"),
            ("gist-model", b"m@1"),
            ("gist-tokens", b"3"),
            ("gist-truncated", b"true"),
        )
    assert outcome.next_offset == 8


def test_a_failed_task_is_a_dead_letter_beside_the_other_outputs() -> None:
    """The outcome also has the failure, for the metrics."""
    failure = Failure(Stage.INFER, "HeadError", "no", Task.NER)
    prediction = Prediction(embedding=VECTOR, failures=(failure,))
    outcome = encode(
        tokenized(Record(WHERE, 7, b"k", b"{}")), prediction, model_name="m@1", encoding=EmbeddingEncoding.FLOAT, limits=LIMITS
    )
    assert [message.output for message in outcome.messages] == [Output.EMBEDDINGS, Output.DEAD_LETTERS]
    assert outcome.failures == (failure,)
    letter = schemas.DeadLetter.model_validate_json(outcome.messages[1].value or b"")
    assert (letter.task, letter.stage) == ("ner", "infer")


@pytest.mark.parametrize(
    ("encoding", "tolerance"),
    [
        (EmbeddingEncoding.FLOAT, 0),
        (EmbeddingEncoding.FLOAT32, 0),
        (EmbeddingEncoding.FLOAT16, 5e-4),
        (EmbeddingEncoding.INT8, 0.004),
    ],
)
@given(numbers=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40))
def test_a_vector_comes_back(encoding: EmbeddingEncoding, tolerance: float, numbers: list[float]) -> None:
    """The decoded vector is equal, or within the rounding error of the encoding."""
    vector = np.array(numbers, dtype=np.float32)
    value = encoded(Record(WHERE, 7, b"k", b"{}"), Prediction(embedding=vector), encoding)[Output.EMBEDDINGS]
    schemas.Embedding.model_validate(value)
    np.testing.assert_allclose(decode_embedding(value), vector, atol=tolerance, rtol=0)


@given(numbers=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40))
def test_binary_keeps_the_signs(numbers: list[float]) -> None:
    """The encoding has one bit per number, which is set for numbers above zero."""
    vector = np.array(numbers, dtype=np.float32)
    value = encoded(Record(WHERE, 7, b"k", b"{}"), Prediction(embedding=vector), EmbeddingEncoding.BINARY)[Output.EMBEDDINGS]
    np.testing.assert_array_equal(decode_embedding(value) > 0, vector > 0)


def test_a_vector_that_is_not_finite_never_leaves() -> None:
    """JSON would write null, so encoding raises an exception."""
    with pytest.raises(InvariantBroken, match="not finite"):
        encoded(Record(WHERE, 7, b"k", b"{}"), Prediction(embedding=np.array([np.nan], dtype=np.float32)))


def test_a_number_that_float16_cannot_hold_is_a_dead_letter() -> None:
    """The number would become infinity; the vector of a model without normalization may have such a number."""
    with pytest.raises(RecordFailed, match="float16"):
        encoded(Record(WHERE, 7, b"k", b"{}"), Prediction(embedding=np.array([1e5], dtype=np.float32)), EmbeddingEncoding.FLOAT16)


def test_a_tombstone_goes_to_the_outputs_of_the_tasks_served() -> None:
    """It keeps its key and has no value."""
    outcome = encode_tombstone(Tombstone(Record(WHERE, 7, b"k", None)), tasks=frozenset({Task.EMBED, Task.NER}))
    assert [(message.output, message.key, message.value) for message in outcome.messages] == [
        (Output.EMBEDDINGS, b"k", None),
        (Output.ENTITIES, b"k", None),
    ]


def test_a_dead_letter_can_be_replayed() -> None:
    """The dead letter has the complete key, headers and payload, and the digest of the payload."""
    record = Record(WHERE, 7, b"k\xff", b"\xff payload", (("h", b"\x00"), ("n", None)), timestamp_ms=5)
    outcome = encode_dead_letter(record, Failure(Stage.DECODE, "InvalidRecord", "no"), model_name="m@1", limits=LIMITS)
    letter = schemas.DeadLetter.model_validate_json(outcome.messages[0].value or b"")
    assert base64.b64decode(letter.payload or "") == record.value
    assert base64.b64decode(letter.key or "") == record.key
    assert [(h.name, h.value) for h in letter.headers] == [("h", "AA=="), ("n", None)]
    assert letter.payload_sha256 == hashlib.sha256(record.value or b"").hexdigest()
    assert (letter.truncated, letter.source.timestamp, outcome.messages[0].key) == (False, 5, b"k\xff")


@given(
    value=st.none() | st.binary(max_size=50).map(lambda part: part * 40_000),
    key=st.none() | st.binary(max_size=3).map(lambda part: part * 20_000),
    headers=st.lists(
        st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=3).map(lambda part: part * 8_000)), max_size=60
    ),
    message=st.text(max_size=10).map(lambda text: text * 1_000) | st.just("\ud800"),
)
def test_a_dead_letter_is_bounded_whatever_the_record_is(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]], message: str
) -> None:
    """The dead letter is valid, smaller than the default limit of a topic, and marks a truncated payload."""
    record = Record(WHERE, 7, key, value, tuple(headers))
    outcome = encode_dead_letter(record, Failure(Stage.DECODE, "E", message), model_name="m@1", limits=LIMITS)
    letter = schemas.DeadLetter.model_validate_json(outcome.messages[0].value or b"")
    assert outcome.messages[0].size_bytes < 500_000
    is_whole = len(value or b"") <= LIMITS.max_dead_letter_payload_bytes and len(key or b"") <= 16_384
    # How often it was tried is a field of the letter, and no header of the record's own.
    assert letter.truncated or (is_whole and len(letter.headers) == sum(name != "gist-attempt" for name, _ in headers))
    assert letter.payload_bytes == len(value or b"")


def test_an_unreadable_range_is_one_letter() -> None:
    """The dead letter has the offsets that could not be read."""
    outcome = encode_dead_letter(
        UnreadableRange(WHERE, 5, 9, "UnicodeDecodeError", "a header key"),
        Failure(Stage.CONSUME, "UnicodeDecodeError", "a header key"),
        model_name="m@1",
        limits=LIMITS,
    )
    letter = schemas.DeadLetter.model_validate_json(outcome.messages[0].value or b"")
    assert (letter.source.offset, letter.source.next_offset, letter.payload, letter.source.timestamp) == (5, 9, None, None)
    assert outcome.next_offset == 9
