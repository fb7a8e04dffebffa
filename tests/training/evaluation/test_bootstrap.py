"""Bootstrap intervals: seeded, as wide as the textbook's, absent without data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from worker.training.evaluation.bootstrap import Draws, estimate, wilson

if TYPE_CHECKING:
    from worker.training.evaluation.bootstrap import Statistic


def build_mean(values: Any) -> Statistic:
    """Return the mean of a value of each text."""
    return lambda texts: values[texts].mean()


def test_the_interval_of_a_mean_is_about_two_standard_errors_to_each_side() -> None:
    """The bootstrap agrees with the normal approximation for many texts."""
    values = np.random.default_rng(5).normal(3, 2, size=4000)
    found = estimate(build_mean(values), len(values))
    error = values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=error / 4)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=error / 4)


def test_the_seed_decides_the_draws() -> None:
    """Another seed gives another interval."""
    mean = build_mean(np.arange(50.0))
    assert estimate(mean, 50, Draws(seed=1)) == estimate(mean, 50, Draws(seed=1)) != estimate(mean, 50, Draws(seed=2))


def test_draws_without_a_value_are_left_out() -> None:
    """If no draw has a value, there is no interval."""
    flag = np.array([1.0, 0, 0, 0])
    found = estimate(lambda texts: 1.0 if flag[texts].any() else math.nan, 4)
    assert found.value == 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    for num_texts in (0, 1, 3):
        nothing = estimate(lambda _texts: math.nan, num_texts)
        assert all(math.isnan(number) for number in (nothing.value, nothing.low, nothing.high))


@pytest.mark.parametrize(("value", "ends"), [(1.0, (0.886, 1.0)), (0.0, (0.0, 0.114))])
def test_a_share_without_spread_has_wilsons_interval(value: float, ends: tuple[float, float]) -> None:
    """30 right texts of 30 prove no certainty."""
    found = estimate(build_mean(np.full(30, value)), 30, num_counted=[30])
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (value, *ends)
    assert estimate(build_mean(np.ones(1)), 1, num_counted=[1]).low == pytest.approx(wilson(1, 1)[0])


def test_a_mean_of_shares_has_the_mean_of_wilsons_intervals() -> None:
    """A share that counts no text is left out."""
    found = estimate(build_mean(np.ones(30)), 30, num_counted=[28, 2, 0])
    assert found.low == pytest.approx((wilson(1, 28)[0] + wilson(1, 2)[0]) / 2)
    assert found.high == 1


def test_a_spread_takes_precedence_over_wilsons_interval() -> None:
    """One wrong text of 30 is enough for the draws to differ."""
    values = np.array([0.0] + [1.0] * 29)
    found = estimate(build_mean(values), 30, num_counted=[30])
    assert found == estimate(build_mean(values), 30)
    assert found.low < found.value < found.high
