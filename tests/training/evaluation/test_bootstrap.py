"""Intervals: seeded, as wide as they should be, and honest where there is nothing to say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training.evaluation import bootstrap as module
from worker.training.evaluation.bootstrap import bootstrap_mean, estimates, share, wilson


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    """Of many values, the mean and nearly two standard errors to each side."""
    values = np.random.default_rng(5).normal(3, 2, size=4000)
    found = estimates({"mean": bootstrap_mean(values)}, len(values))["mean"]
    error = values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=error / 4)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=error / 4)


def test_the_seed_decides() -> None:
    """The same draws, or others."""
    statistics = {"mean": bootstrap_mean(np.arange(50.0))}
    assert estimates(statistics, 50, seed=1) == estimates(statistics, 50, seed=1) != estimates(statistics, 50, seed=2)


@given(num_texts=st.integers(1, 30), num_draws=st.integers(1, 50), cells=st.integers(1, 100))
def test_each_draw_takes_as_many_texts_as_there_are(num_texts: int, num_draws: int, cells: int) -> None:
    """However few draws are made at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MAX_CELLS", cells)
        weights = np.concatenate(list(module._draws(num_texts, num_draws, 0)))
    assert weights.shape == (num_draws, num_texts)
    assert (weights.sum(axis=1) == num_texts).all()


def test_draws_without_a_value_are_left_out() -> None:
    """And where none has one, there is no interval."""
    flag = np.array([1.0, 0, 0, 0])
    found = estimates({"x": lambda weights: share(weights @ flag, weights @ flag)}, 4)["x"]
    assert found.value == 1
    assert all(math.isnan(it) for it in (found.low, found.high))
    for num_texts in (0, 3):
        nothing = estimates({"x": lambda weights: np.full(len(weights), np.nan)}, num_texts)["x"]
        assert all(math.isnan(it) for it in (nothing.value, nothing.low, nothing.high))


@pytest.mark.parametrize(("value", "ends"), [(1.0, (0.886, 1.0)), (0.0, (0.0, 0.114))])
def test_a_share_without_spread_has_wilsons_interval(value: float, ends: tuple[float, float]) -> None:
    """30 texts of 30 prove no certainty."""
    found = estimates({"share": bootstrap_mean(np.full(30, value))}, 30, num_counted={"share": [30]})["share"]
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (value, *ends)


def test_a_mean_of_shares_is_as_unsure_as_its_parts() -> None:
    """A part that counts no text does not count."""
    found = estimates({"mean": bootstrap_mean(np.ones(30))}, 30, num_counted={"mean": [28, 2, 0]})["mean"]
    assert found.low == pytest.approx((wilson(1, 28)[0] + wilson(1, 2)[0]) / 2)
    assert found.high == 1


def test_spread_is_shown_as_it_is_drawn() -> None:
    """One wrong text of 30 is enough for the draws to differ, and they decide."""
    values = np.array([0.0] + [1.0] * 29)
    found = estimates({"share": bootstrap_mean(values)}, 30, num_counted={"share": [30]})["share"]
    assert found == estimates({"share": bootstrap_mean(values)}, 30)["share"]
    assert found.low < found.value < found.high


@given(num_right=st.integers(0, 500), num_wrong=st.integers(0, 500))
def test_wilsons_interval_is_scipys(num_right: int, num_wrong: int) -> None:
    """It holds the share itself, and nothing outside of 0 to 1."""
    stats: Any = pytest.importorskip("scipy.stats")
    num_texts = num_right + num_wrong
    if num_texts:
        low, high = wilson(num_right / num_texts, num_texts)
        expected = stats.binomtest(num_right, num_texts).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert 0 <= low <= num_right / num_texts <= high <= 1


@given(value=st.floats(0, 1), num_counted=st.integers(1, 10_000))
def test_wilsons_interval_narrows_with_more_texts(value: float, num_counted: int) -> None:
    """It has a width at every share, also at 0 and 1."""
    low, high = wilson(value, num_counted)
    narrower_low, narrower_high = wilson(value, 2 * num_counted)
    assert 0 <= low <= value <= high <= 1
    assert 0 < narrower_high - narrower_low < high - low
