"""Chunks: one embedding for each, which follows the contract, and tombstones with their keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson

import schemas
from tests.makers import PARTITION, tokenized
from worker.records import Output, Prediction, Record, TokenizedItem, Tokens, Window
from worker.wire.chunks import encode_chunk_tombstones, encode_in_chunks, read_previous_chunks
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding

RECORD = Record(PARTITION, 7, b"k", b"{}")
WINDOWS = (Window(1, 3, 0, 3), Window(3, 4, 3, 5))


def item(windows: tuple[Window, ...]) -> TokenizedItem:
    """Return an item with the text `ab cd ef`, of three tokens."""
    spans = np.array([(0, 0), (0, 2), (3, 5), (6, 8), (0, 0)], dtype=np.int32)
    zeros = np.zeros(5, dtype=np.int32)
    tokens = Tokens(zeros, spans, zeros, truncated=False, windows=windows, model="m@1")
    made = tokenized(7, 3)
    return TokenizedItem(replace(made.item, id="a", text="ab cd ef", record=RECORD), tokens)


def test_each_chunk_has_an_embedding() -> None:
    """Id and key have the number of the chunk; the other outputs are those of the whole text."""
    vectors = np.array([[0.6, 0.8], [1.0, 0.0]], dtype=np.float32)
    prediction = Prediction(embedding=vectors.mean(axis=0), window_vectors=vectors, entities=())
    options = {"encoding": EmbeddingEncoding.FLOAT, "limits": Limits()}
    outcome = encode_in_chunks(item(WINDOWS), prediction, model_name="m@1", **options)  # type: ignore[arg-type]
    *chunks, entities = outcome.messages
    assert (entities.output, entities.key, outcome.num_chunks) == (Output.ENTITIES, b"k", 2)
    values = [orjson.loads(message.value or b"") for message in chunks]
    for number, (message, value) in enumerate(zip(chunks, values, strict=True)):
        schemas.Embedding.model_validate(value)
        assert (message.key, value["id"], value["parent"]) == (b"k#%d" % number, f"a#{number}", "a")
        assert (value["number"], value["count"]) == (number, 2)
        assert dict(message.headers)["gist-chunks"] == b"2"
    assert ["ab cd ef"[value["start"] : value["end"]] for value in values] == ["ab cd", "ef"]
    np.testing.assert_allclose([value["embedding"] for value in values], vectors)


def test_a_short_text_is_one_chunk() -> None:
    """The chunk is the whole text, and a record without the task embed has no chunk and no count."""
    vector = np.array([0.6, 0.8], dtype=np.float32)
    options = {"model_name": "m@1", "encoding": EmbeddingEncoding.FLOAT, "limits": Limits()}
    outcome = encode_in_chunks(item(()), Prediction(embedding=vector), **options)  # type: ignore[arg-type]
    value = orjson.loads(outcome.messages[0].value or b"")
    assert (outcome.num_chunks, value["id"], value["start"], value["end"]) == (1, "a#0", 0, 8)
    assert encode_in_chunks(item(()), Prediction(entities=()), **options).num_chunks is None  # type: ignore[arg-type]


def test_tombstones_have_the_keys_of_the_chunks() -> None:
    """The chunks from the first to the last get a tombstone; a record without a key gets tombstones without keys."""
    assert [(message.key, message.value) for message in encode_chunk_tombstones(RECORD, 1, 3)] == [(b"k#1", None), (b"k#2", None)]


def test_the_producer_may_give_the_number_of_earlier_chunks() -> None:
    """Another value than a number counts as none. A text has at most 256 chunks, so that a header cannot fill the memory."""
    for written, number in ((b"12", 12), (b"999999", 256), (b"x", 0), (b"", 0), (b"9" * 20, 0), (None, 0)):
        assert read_previous_chunks(replace(RECORD, headers=(("gist-previous-chunks", written),))) == number
