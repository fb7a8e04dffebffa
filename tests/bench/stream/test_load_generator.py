"""The due times of an offered load."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.stream.load_generator import divide_by_window, due_times_s, summarize_latency

RATES = st.floats(1, 2_000)
SECONDS = st.floats(0.5, 20)
SEEDS = st.integers(0, 2**32 - 1)


@given(RATES, SECONDS, SEEDS)
def test_due_times_are_ascending_and_within_the_duration(rate_per_s: float, seconds: float, seed: int) -> None:
    """The number of records is rate times duration."""
    due_s = due_times_s(rate_per_s, seconds, seed=seed)
    assert len(due_s) == round(rate_per_s * seconds)
    assert (np.diff(due_s) >= 0).all()
    assert ((due_s >= 0) & (due_s < seconds)).all()


@given(RATES, SECONDS, SEEDS)
def test_the_seed_alone_decides(rate_per_s: float, seconds: float, seed: int) -> None:
    """The same seed gives the same times, and another seed gives others."""
    due_s = due_times_s(rate_per_s, seconds, seed=seed)
    assert np.array_equal(due_s, due_times_s(rate_per_s, seconds, seed=seed))
    if len(due_s):
        assert not np.array_equal(due_s, due_times_s(rate_per_s, seconds, seed=seed + 1))


@given(SEEDS)
def test_arrivals_are_a_poisson_process(seed: int) -> None:
    """The standard deviation of the gaps is close to their mean."""
    gaps_s = np.diff(due_times_s(500, 10, seed=seed))
    assert 0.8 < gaps_s.std() / gaps_s.mean() < 1.2


@given(RATES, SECONDS, SEEDS, st.floats(0.001, 0.1))
def test_windows_divide_the_due_times(rate_per_s: float, seconds: float, seed: int, window_s: float) -> None:
    """Each due time is in one window, in order, and the due times of a window are in the same interval."""
    due_s = due_times_s(rate_per_s, seconds, seed=seed)
    windows = divide_by_window(due_s, window_s)
    assert np.array_equal(np.concatenate([*windows, np.empty(0)]), due_s)
    numbers = [set(np.floor(window / window_s)) for window in windows]
    assert all(len(own) == 1 for own in numbers)
    assert len(set().union(*numbers)) == len(windows)


def test_percentiles_of_latency() -> None:
    """An empty sequence has NaN."""
    found = summarize_latency([float(number) for number in range(101)])
    assert found == {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}
    assert all(math.isnan(value) for value in summarize_latency([]).values())
