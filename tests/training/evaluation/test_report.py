"""What a report holds, and that it is JSON that everybody can read."""

from __future__ import annotations

import json

import pytest

from tests.training.evaluation.reports import OPTIONS, small_report
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation import report
from worker.training.evaluation.labels import judged
from worker.training.evaluation.report import EvaluationReport


def test_labels_are_measured() -> None:
    """Against what always saying the most frequent label would score."""
    (it,) = small_report().labels
    assert (it.head, it.title, it.num_texts, it.majority, it.temperature) == ("mood", "x/y.jsonl", 4, 0.75, 1.5)
    assert it.figures["accuracy"].value == 0.5
    assert it.confusion == ((1, 2), (0, 1))
    assert [example.text for example in it.mistakes] == ["[red]b", "a"]


def test_entities_are_measured() -> None:
    """In groups, and whether their scores can be believed."""
    (it,) = small_report().entities
    assert it.types == ("LOC", "PER")
    assert [(group.name, group.num_gold, group.num_found) for group in it.groups][:3] == [
        ("all", 2, 2),
        ("LOC", 1, 1),
        ("PER", 1, 1),
    ]
    assert it.groups[0].figures["f1"].value == 0.5
    # Right at .75, wrong at .5.
    assert it.ece.value == pytest.approx((0.25 + 0.5) / 2)


def test_the_json_says_what_it_means() -> None:
    """With every figure, its interval and the definitions."""
    found = json.loads(json.dumps(small_report().as_json(), allow_nan=False))
    assert found["labels"][0]["figures"]["accuracy"].keys() == {"value", "low", "high"}
    assert "15 bins" in found["definitions"]["ECE"]
    assert found["vectors"]["figures"]["Pearson"]["value"] == 0.9875
    assert found["options"] == {"num_examples": 2, "seed": 0, "num_draws": 50}


def test_what_is_no_number_is_null() -> None:
    """A file of one label has no curve, and one in which nothing was found no calibration."""
    labels = report.of_labels("m", "f", judged(("a", "b"), ["a"], [{"a": 0.9, "b": 0.1}]), ["x"], temperature=1, options=OPTIONS)
    entities = report.of_entities("n", "g", [TaggedText("Ada", (Span("PER", 0, 3),))], [[]], temperature=1, options=OPTIONS)
    found = EvaluationReport(model="m", runs_on="", options=OPTIONS, labels=(labels,), entities=(entities,), vectors=None).as_json()
    assert found["labels"][0]["figures"]["AUROC"] == {"value": None, "low": None, "high": None}
    assert found["entities"][0]["ece"]["value"] is None
    assert found["vectors"] is None
