"""The report of an evaluation, and its JSON."""

from __future__ import annotations

import json

import pytest

from tests.training.evaluation.reports import OPTIONS, small_report
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation import report
from worker.training.evaluation.labels import build_predictions
from worker.training.evaluation.report import EvaluationReport


def test_the_report_of_labels_has_figures_confusion_and_mistakes() -> None:
    """The majority is the share of the most frequent true label."""
    (labels,) = small_report().labels
    assert (labels.head, labels.title, labels.num_texts, labels.majority, labels.temperature) == ("mood", "x/y.jsonl", 4, 0.75, 1.5)
    assert labels.figures["accuracy"].value == 0.5
    assert labels.confusion == ((1, 2), (0, 1))
    assert [example.text for example in labels.mistakes] == ["[red]b", "a"]


def test_the_report_of_entities_has_groups_and_calibration() -> None:
    """One entity is right with a score of 0.75, one is wrong with 0.5."""
    (entities,) = small_report().entities
    assert entities.types == ("LOC", "PER")
    assert [(group.name, group.num_gold, group.num_found) for group in entities.groups][:3] == [
        ("all", 2, 2),
        ("LOC", 1, 1),
        ("PER", 1, 1),
    ]
    assert entities.groups[0].figures["f1"].value == 0.5
    assert entities.ece.value == pytest.approx((0.25 + 0.5) / 2)


def test_the_json_has_figures_intervals_and_definitions() -> None:
    """The options of the draws are in the JSON, too."""
    found = json.loads(json.dumps(small_report().as_json(), allow_nan=False))
    assert found["labels"][0]["figures"]["accuracy"].keys() == {"value", "low", "high"}
    assert "15 bins" in found["definitions"]["ECE"]
    assert found["vectors"]["figures"]["Pearson"]["value"] == 0.9875
    assert found["options"] == {"num_examples": 2, "seed": 0, "num_draws": 50}


def test_a_figure_without_a_value_is_null() -> None:
    """A file with one label has no ROC curve, and a file without found entities no calibration."""
    labels = report.build_label_report(
        "m", "f", build_predictions(("a", "b"), ["a"], [{"a": 0.9, "b": 0.1}]), ["x"], temperature=1, options=OPTIONS
    )
    entities = report.build_entity_report("n", "g", [TaggedText("Ada", (Span("PER", 0, 3),))], [[]], temperature=1, options=OPTIONS)
    found = EvaluationReport(model="m", runs_on="", options=OPTIONS, labels=(labels,), entities=(entities,), vectors=None).as_json()
    assert found["labels"][0]["figures"]["AUROC"] == {"value": None, "low": None, "high": None}
    assert found["entities"][0]["ece"]["value"] is None
    assert found["vectors"] is None
