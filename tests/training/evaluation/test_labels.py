"""The figures of classification heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training.evaluation.bootstrap import Draws, wilson
from worker.training.evaluation.labels import (
    NUM_BINS,
    Bin,
    auroc,
    build_calibration_error,
    build_predictions,
    count_confusion,
    estimate_figures,
    find_bins,
    macro_f1,
    measure_reliability,
)

if TYPE_CHECKING:
    from worker.training.evaluation.labels import LabelPredictions

LABELS = ("a", "b", "c")


def compute_figures(predictions: LabelPredictions) -> dict[str, float]:
    """Return the figures without intervals."""
    return {name: figure.value for name, figure in estimate_figures(predictions, Draws(5)).items()}


def test_four_texts_of_two_labels_have_the_figures_of_a_calculation_by_hand() -> None:
    """Of the four pairs of a yes and a no, three are in order; each prediction is alone in its bin."""
    scores = [{"no": 1 - p, "yes": p} for p in (0.9, 0.3, 0.2, 0.6)]
    predictions = build_predictions(("no", "yes"), ["yes", "yes", "no", "no"], scores)
    found = compute_figures(predictions)
    assert count_confusion(predictions).tolist() == [[1, 1], [1, 1]]
    assert (found["accuracy"], found["macro F1"], found["AUROC"]) == (0.5, 0.5, 0.75)
    assert found["ECE"] == pytest.approx((0.1 + 0.2 + 0.7 + 0.6) / 4)


def test_a_label_that_is_neither_true_nor_predicted_does_not_count() -> None:
    """Macro F1 and AUROC are the means of the other labels."""
    scores = [{"a": 0.8, "b": 0.1, "c": 0.1}, {"a": 0.2, "b": 0.7, "c": 0.1}]
    found = compute_figures(build_predictions(LABELS, ["a", "b"], scores))
    assert (found["macro F1"], found["AUROC"]) == (1, 1)


def test_a_single_true_label_has_no_roc_curve() -> None:
    """Without texts, no figure has a value."""
    assert math.isnan(compute_figures(build_predictions(("no", "yes"), ["yes"], [{"no": 0.4, "yes": 0.6}]))["AUROC"])
    empty = build_predictions(LABELS, [], [])
    assert all(map(math.isnan, compute_figures(empty).values()))
    assert count_confusion(empty).tolist() == [[0] * 3] * 3


def test_more_than_two_labels_are_each_held_against_the_rest() -> None:
    """A label that is missing in a draw does not count."""
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    assert auroc(np.array([0, 1, 1]), probabilities) == 1
    assert auroc(np.array([1, 0, 1]), probabilities) == pytest.approx(0.5)
    assert macro_f1(np.array([0, 1, 1]), np.array([0, 0, 1])) == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_calibration_error_follows_its_definition(predictions: list[tuple[float, bool, int]]) -> None:
    """A text that is drawn twice counts twice."""
    confidence, is_right = np.array([row[0] for row in predictions]), np.array([row[1] for row in predictions])
    times = np.array([row[2] for row in predictions])
    expected = 0.0
    for number in range(NUM_BINS):
        own = (find_bins(confidence) == number) * times
        if own.any():
            expected += own.sum() / times.sum() * abs((own * is_right).sum() - (own * confidence).sum()) / own.sum()
    error = build_calibration_error(confidence, is_right, np.arange(len(predictions)))
    found = error(np.repeat(np.arange(len(predictions)), times))
    assert found == pytest.approx(expected if times.any() else math.nan, nan_ok=True)


def test_bins_are_closed_above() -> None:
    """A probability of 0 is in the first bin."""
    assert find_bins(np.array([0, 1 / 15, 0.0667, 0.5, 1])).tolist() == [0, 0, 1, 7, 14]


def test_the_reliability_diagram_leaves_out_empty_bins() -> None:
    """Each bin has its number, mean probability and accuracy."""
    found = measure_reliability(np.array([0.9375, 0.96875, 0.25]), np.array([True, False, False]))
    assert found == (Bin(1, 0.25, 0.0), Bin(2, 0.953125, 0.5))


def test_a_perfect_head_has_wilsons_intervals() -> None:
    """Accuracy counts all texts and macro F1 the texts of each label; the other figures have no interval."""
    scores = [{"no": 0.0, "yes": 1.0}] + [{"no": 1.0, "yes": 0.0}] * 29
    found = estimate_figures(build_predictions(("no", "yes"), ["yes"] + ["no"] * 29, scores), Draws(100))
    assert {name: figure.value for name, figure in found.items()} == {"accuracy": 1, "macro F1": 1, "AUROC": 1, "ECE": 0}
    assert (found["accuracy"].low, found["accuracy"].high) == wilson(1, 30)
    assert found["macro F1"].low == pytest.approx((wilson(1, 29)[0] + wilson(1, 1)[0]) / 2)
    assert all(math.isnan(found[name].low) and math.isnan(found[name].high) for name in ("AUROC", "ECE"))


@pytest.mark.parametrize("is_right", [True, False])
def test_the_calibration_error_of_a_head_without_a_mistake_has_no_interval(*, is_right: bool) -> None:
    """The probabilities have a spread and the share of right predictions has none, also if all predictions are wrong."""
    scores = [{"no": 1 - probability, "yes": probability} for probability in np.linspace(0.9, 0.99, 12)]
    found = estimate_figures(build_predictions(("no", "yes"), ["yes" if is_right else "no"] * 12, scores), Draws(100))["ECE"]
    assert found.value == pytest.approx(0.055 if is_right else 0.945)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
