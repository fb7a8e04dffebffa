"""Intervals: seeded, as wide as they should be, and honest where there is nothing to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training.quality import bootstrap as module
from worker.training.quality.bootstrap import Estimate, estimates, mean_of, share


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    """Of many values, the mean and nearly two standard errors to each side."""
    values = np.random.default_rng(5).normal(3, 2, size=4000)
    found = estimates({"mean": mean_of(values)}, len(values))["mean"]
    error = values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=error / 4)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=error / 4)


def test_the_seed_decides() -> None:
    """The same draws, or others."""
    statistics = {"mean": mean_of(np.arange(50.0))}
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
    assert found == Estimate(1, 1, 1)
    for num_texts in (0, 3):
        nothing = estimates({"x": lambda weights: np.full(len(weights), np.nan)}, num_texts)["x"]
        assert all(math.isnan(it) for it in (nothing.value, nothing.low, nothing.high))
