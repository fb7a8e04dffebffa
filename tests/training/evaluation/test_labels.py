"""The figures of labels: those that one works out by hand, and those of scikit-learn where it is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.training.evaluation.bootstrap import estimates, wilson
from worker.training.evaluation.labels import (
    NUM_BINS,
    Bin,
    Judged,
    build_bins,
    calibration_error,
    confusion,
    judged,
    num_counted,
    reliability,
    statistics,
)

LABELS = ("a", "b", "c")


def figures(it: Judged) -> dict[str, float]:
    """Return the figures, each text counting once."""
    once = np.ones((1, len(it.true)))
    return {name: float(of(once)[0]) for name, of in statistics(it).items()}


def drawn(num_texts: int, num_labels: int, seed: int) -> Judged:
    """Return a head that is better than chance, with probabilities some of which are equal."""
    random = np.random.default_rng(seed)
    true = random.integers(num_labels, size=num_texts)
    scores = random.dirichlet(np.ones(num_labels), size=num_texts) + 0.3 * np.eye(num_labels)[true]
    scores = np.maximum(scores.round(1), 0.05)
    return Judged(tuple("abcdef"[:num_labels]), true.astype(np.intp), scores / scores.sum(axis=1, keepdims=True))


def test_by_hand() -> None:
    """Four texts of two labels."""
    it = judged(("no", "yes"), ["yes", "yes", "no", "no"], [{"no": 1 - p, "yes": p} for p in (0.9, 0.3, 0.2, 0.6)])
    found = figures(it)
    assert confusion(it).tolist() == [[1, 1], [1, 1]]
    assert found["accuracy"] == 0.5
    assert found["macro F1"] == 0.5
    # Of the four pairs of a yes and a no, .9 is above both, .3 is above .2.
    assert found["AUROC"] == 0.75
    # Right at .9 and .8, wrong at .7 and .6, each alone in its bin.
    assert found["ECE"] == pytest.approx((0.1 + 0.2 + 0.7 + 0.6) / 4)


def test_a_label_that_is_nowhere_does_not_count() -> None:
    """Neither in macro F1 nor in AUROC."""
    it = judged(LABELS, ["a", "b"], [{"a": 0.8, "b": 0.1, "c": 0.1}, {"a": 0.2, "b": 0.7, "c": 0.1}])
    assert figures(it)["macro F1"] == 1
    assert figures(it)["AUROC"] == 1


def test_one_label_alone_has_no_curve() -> None:
    """Nothing is above or below it."""
    it = judged(("no", "yes"), ["yes"], [{"no": 0.4, "yes": 0.6}])
    assert math.isnan(figures(it)["AUROC"])
    assert math.isnan(figures(judged(LABELS, [], []))["accuracy"])
    assert math.isnan(figures(judged(LABELS, [], []))["AUROC"])


@settings(max_examples=60, deadline=None)
@given(num_texts=st.integers(6, 60), num_labels=st.integers(2, 5), seed=st.integers(0, 1000))
def test_the_figures_are_scikit_learns(num_texts: int, num_labels: int, seed: int) -> None:
    """With every text once, and with texts that were drawn again."""
    sk: Any = pytest.importorskip("sklearn.metrics")
    it = drawn(num_texts, num_labels, seed)
    # Every label is there, as scikit-learn wants it.
    it = Judged(it.labels, np.concatenate([np.arange(num_labels), it.true[num_labels:]]), it.probabilities)
    assert confusion(it).tolist() == sk.confusion_matrix(it.true, it.said, labels=range(num_labels)).tolist()
    weights = np.stack([np.ones(num_texts), np.random.default_rng(seed).integers(1, 4, size=num_texts).astype(float)])
    found = {name: of(weights) for name, of in statistics(it).items()}
    for row, own in enumerate(weights):
        again = np.repeat(np.arange(num_texts), own.astype(int))
        true, said, scores = it.true[again], it.said[again], it.probabilities[again]
        assert found["accuracy"][row] == pytest.approx(sk.accuracy_score(true, said))
        assert found["macro F1"][row] == pytest.approx(sk.f1_score(true, said, average="macro", zero_division=0))
        area = sk.roc_auc_score(true, scores[:, 1] if num_labels == 2 else scores, multi_class="ovr")
        assert found["AUROC"][row] == pytest.approx(area)


@settings(max_examples=60)
@given(num_texts=st.integers(2, 40), num_labels=st.integers(2, 4), seed=st.integers(0, 1000))
def test_a_weight_is_a_text_that_stands_there_so_often(num_texts: int, num_labels: int, seed: int) -> None:
    """Which is what makes one formula do for all draws."""
    it = drawn(num_texts, num_labels, seed)
    weights = np.random.default_rng(seed).integers(0, 3, size=num_texts)
    again = np.repeat(np.arange(num_texts), weights)
    expected = figures(Judged(it.labels, it.true[again], it.probabilities[again]))
    for name, of in statistics(it).items():
        assert of(weights[None].astype(np.float64))[0] == pytest.approx(expected[name], nan_ok=True)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_the_calibration_error_is_that_of_its_definition(said: list[tuple[float, bool]]) -> None:
    """Bin by bin."""
    confidence, is_right = np.array([it for it, _ in said]), np.array([it for _, it in said])
    expected = 0.0
    for number in range(NUM_BINS):
        own = build_bins(confidence) == number
        if own.any():
            expected += own.sum() / len(said) * abs(is_right[own].mean() - confidence[own].mean())
    error = calibration_error(confidence, is_right, np.arange(len(said)))
    assert error(np.ones((1, len(said))))[0] == pytest.approx(expected)


def test_bins_are_closed_above() -> None:
    """Nought is in the first."""
    assert build_bins(np.array([0, 1 / 15, 0.0667, 0.5, 1])).tolist() == [0, 0, 1, 7, 14]


def test_the_diagram_shows_what_is_there() -> None:
    """Empty bins are left out."""
    found = reliability(np.array([0.9375, 0.96875, 0.25]), np.array([True, False, False]))
    assert found == (Bin(1, 0.25, 0.0), Bin(2, 0.953125, 0.5))


def test_a_perfect_head_is_not_certain() -> None:
    """Its shares have Wilson's interval, by the texts of each label for macro F1; no other figure has one."""
    it = judged(("no", "yes"), ["yes"] + ["no"] * 29, [{"no": 0.0, "yes": 1.0}] + [{"no": 1.0, "yes": 0.0}] * 29)
    found = estimates(statistics(it), 30, num_counted=num_counted(it))
    assert {name: figure.value for name, figure in found.items()} == {"accuracy": 1, "macro F1": 1, "AUROC": 1, "ECE": 0}
    assert (found["accuracy"].low, found["accuracy"].high) == wilson(1, 30)
    assert found["macro F1"].low == pytest.approx((wilson(1, 29)[0] + wilson(1, 1)[0]) / 2)
    assert all(math.isnan(found[name].low) and math.isnan(found[name].high) for name in ("AUROC", "ECE"))
