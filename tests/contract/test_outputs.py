"""Outputs: each value follows its schema file, and each message has the headers of the contract."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas.__main__ import FOLDER
from worker.errors import InvariantBroken
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
    Window,
)
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, decode_embedding, encode, encode_dead_letter, encode_tombstone

if TYPE_CHECKING:
    from pydantic import BaseModel

    from worker.records import Message, Outcome

LIMITS = Limits()
MODELS: dict[Output, type[BaseModel]] = {
    Output.EMBEDDINGS: schemas.Embedding,
    Output.LABELS: schemas.Labels,
    Output.ENTITIES: schemas.Entities,
    Output.DEAD_LETTERS: schemas.DeadLetter,
}
VALIDATORS = {
    output: jsonschema.Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text()))
    for output, name in zip(MODELS, ("embedding", "labels", "entities", "dead_letter"), strict=True)
}


def followed(message: Message) -> dict[str, Any]:
    """Return the value of a message after a check of its value and headers against the contract."""
    value: dict[str, Any] = orjson.loads(message.value or b"null")
    VALIDATORS[message.output].validate(value)
    MODELS[message.output].model_validate(value, strict=True)
    ours = [name for name, _ in message.headers if name.startswith("gist-")]
    assert ours == list(schemas.HEADERS[MODELS[message.output]])
    return value


def encoded(record: Record, prediction: Prediction, encoding: EmbeddingEncoding = EmbeddingEncoding.FLOAT) -> Outcome:
    """Encode a prediction for a record."""
    zeros = np.zeros(3, dtype=np.int32)
    tokens = Tokens(zeros, np.zeros((3, 2), dtype=np.int32), zeros, truncated=False)
    item = TokenizedItem(Item(record, "id-1", "text", frozenset(Task)), tokens)
    return encode(item, prediction, model_name="m@1", encoding=encoding, limits=LIMITS)


NAMES = st.text(min_size=1, max_size=8)
SCORES = st.floats(0, 1)
HEADERS = st.lists(
    st.tuples(st.text(max_size=8) | st.just("gist-model") | st.just("content-type"), st.none() | st.binary(max_size=8)), max_size=5
)
RECORDS = st.builds(
    Record,
    st.builds(Partition, st.from_regex(r"[a-z.]{1,20}", fullmatch=True), st.integers(0, 2**31 - 1)),
    st.integers(0, 2**63 - 2),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=20),
    HEADERS.map(tuple),
    st.integers(-1, 2**62),
)
FAILURES = st.builds(
    Failure, st.sampled_from(Stage), NAMES, st.text(st.characters(exclude_categories=())), st.none() | st.sampled_from(Task)
)
CLASSIFICATIONS = st.builds(
    Classification,
    NAMES,
    SCORES,
    st.dictionaries(NAMES, SCORES, max_size=4),
    st.none() | st.lists(NAMES, max_size=3).map(tuple),
)
ENTITIES = st.builds(PredictedEntity, NAMES, st.text(max_size=8), st.integers(0, 9), st.integers(10, 99), SCORES, NAMES)
VECTORS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20).map(lambda numbers: np.array(numbers, dtype=np.float32))
PREDICTIONS = st.builds(
    Prediction,
    st.none() | VECTORS,
    st.none() | st.dictionaries(NAMES, CLASSIFICATIONS, max_size=3),
    st.none() | st.lists(ENTITIES, max_size=4).map(tuple),
    st.lists(FAILURES, max_size=2).map(tuple),
)


@given(record=RECORDS, prediction=PREDICTIONS, encoding=st.sampled_from(EmbeddingEncoding))
def test_whatever_the_model_says_follows_the_contract(record: Record, prediction: Prediction, encoding: EmbeddingEncoding) -> None:
    """There is one valid message per task with a result, and one valid dead letter per failed task."""
    outcome = encoded(record, prediction, encoding)
    for message in outcome.messages:
        followed(message)
        assert message.key == record.key
    results = [prediction.embedding, prediction.labels, prediction.entities]
    assert len(outcome.messages) == sum(result is not None for result in results) + len(prediction.failures)


@pytest.mark.parametrize(("truncated", "flag"), [(False, b"false"), (True, b"true")])
def test_a_long_text_in_windows_counts_each_token_once(truncated: bool, flag: bytes) -> None:  # noqa: FBT001  a parameter
    """The output has the number of tokens, and whether the text was truncated."""
    zeros = np.zeros(5, dtype=np.int32)
    windows = (Window(1, 3, 0, 2), Window(2, 4, 2, 5))
    tokens = Tokens(zeros, np.zeros((5, 2), dtype=np.int32), zeros, truncated=truncated, windows=windows)
    item = TokenizedItem(Item(Record(Partition("texts", 0), 7, b"k", b"{}"), "id-1", "text", frozenset(Task)), tokens)
    outcome = encode(item, Prediction(entities=()), model_name="m@1", encoding=EmbeddingEncoding.FLOAT, limits=LIMITS)
    followed(outcome.messages[0])
    assert outcome.messages[0].headers[-2:] == (("gist-tokens", b"5"), ("gist-truncated", flag))


@given(source=RECORDS | st.just(UnreadableRange(Partition("texts", 0), 5, 9, "Corrupt", "no")), failure=FAILURES)
def test_every_dead_letter_follows_the_contract(source: Record | UnreadableRange, failure: Failure) -> None:
    """The dead letter is valid for any record and any error message."""
    (message,) = encode_dead_letter(source, failure, model_name="m@1", limits=LIMITS).messages
    value = followed(message)
    assert (value["source"]["offset"], value["source"]["next_offset"]) == (source.offset, source.next_offset)


@given(record=RECORDS)
def test_a_small_record_can_be_replayed_exactly_from_its_dead_letter(record: Record) -> None:
    """Key, value and headers are restored byte for byte."""
    failure = Failure(Stage.INFER, "RecordFailed", "no")
    (message,) = encode_dead_letter(record, failure, model_name="m@1", limits=LIMITS).messages
    letter = followed(message)
    whole = {name: None if letter[name] is None else base64.b64decode(letter[name]) for name in ("key", "payload")}
    headers = tuple(
        (header["name"], None if header["value"] is None else base64.b64decode(header["value"])) for header in letter["headers"]
    )
    assert (whole["key"], whole["payload"], headers) == (record.key, record.value, record.headers)
    assert not letter["truncated"]


@pytest.mark.parametrize("name_bytes", [1, 500, 16_000])
def test_the_largest_dead_letter_has_the_size_that_is_promised(name_bytes: int) -> None:
    """The largest names of headers consist of control characters, which take six bytes each in JSON."""
    header = ("\1" * name_bytes, b"")
    record = Record(Partition("t" * 249, 0), 2**62, b"k" * 10**6, b"v" * 10**6, (header,) * 100)
    failure = Failure(Stage.DECODE, "InvalidRecord", "\1" * 10**6)
    (message,) = encode_dead_letter(record, failure, model_name="m@1", limits=LIMITS).messages
    assert followed(message)["truncated"]
    promised = 4 * LIMITS.max_dead_letter_payload_bytes + 7 * 16_384 + 22 * LIMITS.max_headers_bytes
    assert message.size_bytes <= promised / 3 + 16_384


def test_a_dead_letter_keeps_the_headers_and_the_timestamp_of_its_record() -> None:
    """The headers include the trace context."""
    record = Record(Partition("texts", 3), 7, b"k", b"{", (("traceparent", b"00-1"), ("gist-model", b"forged")), timestamp_ms=99)
    failure = Failure(Stage.DECODE, "InvalidRecord", "no")
    (message,) = encode_dead_letter(record, failure, model_name="m@1", limits=LIMITS).messages
    assert message.headers == (
        ("traceparent", b"00-1"),
        ("gist-source-topic", b"texts"),
        ("gist-source-partition", b"3"),
        ("gist-source-offset", b"7"),
        ("gist-source-timestamp", b"99"),
        ("gist-model", b"m@1"),
    )


def test_the_content_type_is_that_of_the_output() -> None:
    """The output of a plain-text record has the content type of JSON."""
    record = Record(Partition("texts", 0), 7, b"k", b"text", (("content-type", b"text/plain"), ("other", b"text/plain")))
    (message,) = encoded(record, Prediction(entities=())).messages
    assert message.headers[:2] == (("content-type", b"application/json"), ("other", b"text/plain"))


def test_a_tombstone_says_where_it_came_from() -> None:
    """A tombstone has the source headers and no model header."""
    record = Record(Partition("texts", 0), 7, b"k", None, (("trace", b"1"),))
    outcome = encode_tombstone(Tombstone(record), tasks=frozenset(Task))
    assert [message.output for message in outcome.messages] == [Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES]
    for message in outcome.messages:
        assert (message.key, message.value) == (b"k", None)
        assert [name for name, _ in message.headers] == ["trace", *schemas.SOURCE_HEADERS]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "broken",
    [
        lambda number: Prediction(embedding=np.array([0.5, number], dtype=np.float32)),
        lambda number: Prediction(labels={"s": Classification("a", number, {"a": 1.0})}),
        lambda number: Prediction(labels={"s": Classification("a", 1.0, {"a": 1.0, "b": number})}),
        lambda number: Prediction(entities=(PredictedEntity("PER", "Ada", 0, 3, number, "ner"),)),
    ],
)
def test_a_number_that_is_not_finite_is_never_written(number: float, broken: Any) -> None:
    """JSON would have null in its place."""
    with pytest.raises(InvariantBroken, match="not finite"):
        encoded(Record(Partition("texts", 0), 7, b"k", b"{}"), broken(number))


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("float32", "0000003f 000080bf 00000000"),
        ("float16", "0038 00bc 0000"),
        ("int8", "40 81 00"),
        ("binary", "80"),
    ],
)
def test_the_bytes_of_a_vector_are_those_that_the_contract_defines(encoding: str, content: str) -> None:
    """Numbers are little-endian; int8 rounds numbers over the scale (here 1/127); binary starts at the highest bit (0 for zero)."""
    vector = np.array([0.5, -1, 0], dtype=np.float32)
    (message,) = encoded(
        Record(Partition("t", 0), 7, b"k", b""), Prediction(embedding=vector), EmbeddingEncoding(encoding)
    ).messages
    value = followed(message)
    assert base64.b64decode(value["embedding"]) == bytes.fromhex(content)
    assert (value["dim"], value["encoding"]) == (3, encoding)
    assert value.get("scale") == (pytest.approx(1 / 127) if encoding == "int8" else None)


@given(vector=VECTORS)
def test_8_bits_are_worth_their_scale(vector: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """The largest number is the last step, and every other number is within half a step, even for very small numbers."""
    (message,) = encoded(Record(Partition("t", 0), 7, b"k", b""), Prediction(embedding=vector), EmbeddingEncoding.INT8).messages
    value = followed(message)
    steps = np.frombuffer(base64.b64decode(value["embedding"]), dtype=np.int8)
    assert np.abs(steps.astype(int)).max() == (127 if vector.any() else 0)
    assert (np.abs(steps * np.float64(value["scale"]) - vector) <= 0.5001 * value["scale"]).all()


@pytest.mark.parametrize("missing", [{}, {"scale": None}])
def test_8_bits_without_a_scale_are_steps_of_a_127th(missing: dict[str, Any]) -> None:
    """A producer may write such a vector if no number is above 1."""
    vector = decode_embedding({"embedding": "QIEA", "dim": 3, "encoding": "int8", **missing})
    np.testing.assert_allclose(vector, [64 / 127, -1, 0], rtol=1e-6)


@given(vector=VECTORS)
def test_floats_are_written_with_the_digits_of_float32_and_no_more(vector: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """Each number is the shortest decimal of the same float32, which has half the bytes of a float64."""
    (message,) = encoded(Record(Partition("texts", 0), 7, b"k", b"{}"), Prediction(embedding=vector)).messages
    value = orjson.loads(message.value or b"")
    assert [np.float32(number) for number in value["embedding"]] == list(vector)
    assert all(len(f"{abs(number):e}".split("e")[0].replace(".", "").rstrip("0")) <= 9 for number in value["embedding"])


@pytest.mark.parametrize(
    "value",
    [
        {"embedding": [0.5], "dim": 2, "encoding": "float"},
        {"embedding": "AAAA", "dim": 2, "encoding": "int8"},
        {"embedding": "AA==", "dim": 9, "encoding": "binary"},
        {"embedding": "AAA=", "dim": 8, "encoding": "binary"},
        {"embedding": "AAA=", "dim": 1, "encoding": "float32"},
        {"embedding": "%%%%", "dim": 3, "encoding": "int8"},
        {"embedding": "AAAA", "dim": 3, "encoding": "int4"},
        {"embedding": "AAAA", "dim": 3, "encoding": "int8", "scale": 0},
        {"embedding": "AAAA", "dim": 3, "encoding": "int8", "scale": -1},
        {"embedding": "AAAA", "dim": 3, "encoding": "int8", "scale": "wide"},
    ],
)
def test_a_vector_that_contradicts_itself_is_refused(value: dict[str, Any]) -> None:
    """The decoder refuses a vector whose length differs from the length in the message."""
    with pytest.raises(ValueError, match=r".+"):
        decode_embedding(value)


@pytest.mark.parametrize("model", schemas.MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        assert part["description"]
        for name, field in part["properties"].items():
            assert field.get("description"), name


@given(vector=VECTORS, encoding=st.sampled_from(EmbeddingEncoding))
def test_the_model_of_the_contract_decodes_every_encoding(
    vector: np.ndarray[Any, np.dtype[np.float32]], encoding: EmbeddingEncoding
) -> None:
    """`Embedding.numbers` returns the numbers that the worker's own decoder returns."""
    outcome = encoded(Record(Partition("texts", 0), 1, b"k", b"{}"), Prediction(embedding=vector), encoding)
    value = orjson.loads(outcome.messages[0].value or b"")
    numbers = schemas.Embedding.model_validate(value).numbers()
    np.testing.assert_allclose(numbers, decode_embedding(value), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("embedding", "encoding"),
    [([0.5], "float"), ("AAAA", "float32"), ("AAAA", "float16"), ("AAAA", "int8"), ("AAAA", "binary"), ("AA==", "binary")],
)
def test_a_vector_of_another_length_is_refused(embedding: object, encoding: str) -> None:
    """The error names both lengths."""
    value = schemas.Embedding.model_validate({"id": "1", "embedding": embedding, "dim": 9, "encoding": encoding})
    with pytest.raises(ValueError, match="but its dim is 9"):
        value.numbers()
