"""The example of the front page and of the wire contract shows what the shipped model predicts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.makers import record
from worker.model.engine import Engine
from worker.records import Item, Prediction, Task, TokenizedItem
from worker.settings import DEFAULT_MODEL

pytestmark = pytest.mark.model
ROOT = Path(__file__).parents[2]
_NUMBER_FORMAT_ERROR = 0.02


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    """Return the prediction of the shipped model for the text of the example."""
    text = read_examples(ROOT / "README.md")["text"]
    engine = Engine.load(DEFAULT_MODEL, device="cpu", dtype="float32")
    item = Item(record(0), "ticket-17", text, frozenset(Task))
    return engine.infer([TokenizedItem(item, engine.tokenize([text])[0])])[0]


def read_examples(page: Path) -> dict[str, Any]:
    """Return the fields of all JSON examples of a page about the text of the example; an ellipsis ends an array."""
    merged: dict[str, Any] = {}
    for block in re.findall(r"^```json\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for value in re.split(r"\n\n", block.replace(", …", "")):
            example = json.loads(value)
            if example.get("id") == "ticket-17" and not example.keys() & {"specversion", "gist", "truncated", "values"}:
                merged |= example
    return merged


@pytest.mark.parametrize("name", ["README.md", "docs/use/wire-contract.md"])
def test_examples_show_the_output_of_the_shipped_model(prediction: Prediction, name: str) -> None:
    """Vector, label and entities agree with the model, up to the rounding of the number format."""
    example = read_examples(ROOT / name)
    assert prediction.embedding is not None
    assert prediction.labels is not None
    assert prediction.entities is not None
    shown = example["embedding"]
    assert list(prediction.embedding[: len(shown)]) == pytest.approx(shown, abs=_NUMBER_FORMAT_ERROR)
    label = prediction.labels["sentiment"]
    assert example["labels"]["sentiment"]["label"] == label.label
    assert example["labels"]["sentiment"]["scores"] == pytest.approx(dict(label.scores), abs=_NUMBER_FORMAT_ERROR)
    found = [(entity.type, entity.text, entity.start, entity.end, entity.task) for entity in prediction.entities]
    assert [tuple(entity[key] for key in ("type", "text", "start", "end", "task")) for entity in example["entities"]] == found
    scores = [entity.score for entity in prediction.entities]
    assert [entity["score"] for entity in example["entities"]] == pytest.approx(scores, abs=_NUMBER_FORMAT_ERROR)
