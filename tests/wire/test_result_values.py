"""Results for people, from the values of any layout."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console

from tests.makers import tokenized
from worker.commands import tail
from worker.errors import InvalidRecord
from worker.records import Classification, Output, Partition, PredictedEntity, Prediction, Record
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding, encode
from worker.wire.fields.paths import FieldPath, TextTemplate
from worker.wire.layouts import build_layout
from worker.wire.mapping import IdSource, InputMapping
from worker.wire.registered.content import RegisteredForm
from worker.wire.registered.frame import build_prefix
from worker.wire.result_values import drop_vectors, read_json_value, read_results

PREDICTION = Prediction(
    embedding=np.array([0.6, -0.8], dtype=np.float32),
    labels={"sentiment": Classification("positive", 0.75, {"positive": 0.75})},
    entities=(PredictedEntity("PER", "hell", 0, 4, 0.9, "ner"),),
)


def values(output: Output | None) -> dict[Output, dict[str, Any]]:
    """Return the values of one record in a layout; None is the layout `split`."""
    item, encoding = tokenized(1, 3), EmbeddingEncoding.FLOAT
    item = replace(item, item=replace(item.item, record=replace(item.item.record, value=b'{"id":"id-1","text":"hello"}')))
    if output is None:
        outcome = encode(item, PREDICTION, model_name="m@1", encoding=encoding, limits=Limits())
    else:
        layout = build_layout(output, encoding=encoding, result_field="nlp", collection="c")
        outcome = layout.encode(item, PREDICTION, model_name="m@1", limits=Limits())
    return {message.output: orjson.loads(message.value or b"null") for message in outcome.messages}


@pytest.mark.parametrize("output", [None, Output.ENRICHED, Output.FLAT, Output.QDRANT])
def test_every_layout_has_the_same_results(output: Output | None) -> None:
    """Id, labels, entities and vector are those of the prediction; the text is there unless the layout is `split`."""
    found = read_results(values(output), "nlp")
    assert (found.id, found.text) == ("id-1", None if output is None else "hello")
    assert found.labels is not None
    assert found.labels["sentiment"]["label"] == "positive"
    assert [entity["text"] for entity in found.entities or ()] == ["hell"]
    assert found.vector is not None
    assert found.vector.tolist() == pytest.approx([0.6, -0.8])


_BODY, _NUMBER = FieldPath.parse("mail.body"), FieldPath.parse("nr")


@pytest.mark.parametrize(
    ("mapping", "text", "identity"),
    [
        (InputMapping(text=_BODY, id_path=_NUMBER), "hello", "7"),
        (InputMapping(text=TextTemplate.parse("{text} {mail.body}"), id_source=IdSource.KEY), "other hello", None),
        (InputMapping(text=TextTemplate.parse("{mail}")), "other", "b"),
    ],
)
def test_text_and_id_are_in_the_fields_of_the_users_format(mapping: InputMapping, text: str, identity: str | None) -> None:
    """A layout that repeats the record has text and id where the record has them; a text that cannot be read is that of `text`."""
    record = {"nr": 7, "id": "b", "text": "other", "mail": {"body": "hello"}, "nlp": {"model": "m@1"}}
    found = read_results({Output.ENRICHED: record}, "nlp", mapping)
    assert (found.text, found.id) == (text, identity)
    point = {"id": 1, "vector": [1.0], "payload": {**record, "id": "7"}}
    found = read_results({Output.QDRANT: point}, "nlp", mapping)
    assert (found.text, found.id) == (text, "7")


@pytest.mark.parametrize("output", [Output.ENRICHED, Output.FLAT, Output.QDRANT])
def test_a_terminal_shows_the_text_with_its_entities(output: Output) -> None:
    """The entity has its type inside the text, and a vector is shown unless it is left out."""
    console = Console(file=io.StringIO(), force_terminal=True, width=200, highlight=False, color_system=None)
    for has_vectors in (True, False):
        tail._show(console, ("texts", 0, 1), values(output), tail._View("nlp", has_vectors=has_vectors, is_json=False))
    with_vector, without = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "hell\u00a0PERo" in with_vector
    assert "2 numbers" in with_vector
    assert "numbers" not in without


@pytest.mark.parametrize("output", [None, Output.ENRICHED, Output.FLAT, Output.QDRANT])
def test_vectors_are_left_out_of_every_layout(output: Output | None) -> None:
    """The other fields stay."""
    for value in values(output).values():
        kept = drop_vectors(value, "nlp")
        assert "0.6" not in str(kept)
        assert len(str(kept)) > 2


def test_the_chunks_of_a_text_are_joined() -> None:
    """A record is complete with its last chunk, and its line has all chunks, without vectors on request."""
    joiner = tail.Joiner(num_outputs=1)

    def add(number: int) -> list[dict[Output, dict[str, Any]]]:
        chunk = {
            "id": f"a#{number}",
            "parent": "a",
            "number": number,
            "count": 2,
            "embedding": [0.6],
            "dim": 1,
            "encoding": "float",
        }
        headers = (("gist-source-partition", b"0"), ("gist-source-offset", b"1"))
        record = Record(Partition("texts.embeddings", 0), number, None, orjson.dumps(chunk), headers)
        return [found for _, found in joiner.add(Output.EMBEDDINGS, record, 0.0)]

    assert add(1) == []
    (found,) = add(0)
    assert [chunk["number"] for chunk in found[Output.EMBEDDINGS]["chunks"]] == [0, 1]
    assert (read_results(found, "gist").id, read_results(found, "gist").num_chunks) == ("a", 2)
    assert "embedding" not in str(drop_vectors(found[Output.EMBEDDINGS], "gist"))


@pytest.mark.parametrize("depth", [300, 1_000])
def test_deep_values_are_invalid(depth: int) -> None:
    """JSON is read to a larger depth than it is written."""
    form = RegisteredForm({1: lambda value: orjson.loads(value[5:])}.get)
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    for value in (build_prefix(1) + deep, b'{"schema":1,"payload":' + deep + b"}"):
        with pytest.raises(InvalidRecord, match="too deeply"):
            read_json_value(value, form)
