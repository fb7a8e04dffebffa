"""The offered load: decided beforehand, the same for the same seed, and as much as was asked for."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.stream.offered import due_times_s, latency

RATES = st.floats(1, 2_000)
SECONDS = st.floats(0.5, 20)
SEEDS = st.integers(0, 2**32 - 1)


@given(RATES, SECONDS, SEEDS)
def test_so_many_messages_are_due_in_order_and_within_the_time(rate_per_s: float, seconds: float, seed: int) -> None:
    """Whatever the rate, the time and the seed."""
    due_s = due_times_s(rate_per_s, seconds, seed=seed)
    assert len(due_s) == round(rate_per_s * seconds)
    assert (np.diff(due_s) >= 0).all()
    assert ((due_s >= 0) & (due_s < seconds)).all()


@given(RATES, SECONDS, SEEDS)
def test_the_seed_alone_decides(rate_per_s: float, seconds: float, seed: int) -> None:
    """The same again is the same; another seed is another run of chance; nothing that a worker does is an argument."""
    due_s = due_times_s(rate_per_s, seconds, seed=seed)
    assert np.array_equal(due_s, due_times_s(rate_per_s, seconds, seed=seed))
    if len(due_s):
        assert not np.array_equal(due_s, due_times_s(rate_per_s, seconds, seed=seed + 1))


@given(SEEDS)
def test_arrivals_come_in_bursts_as_those_of_strangers_do(seed: int) -> None:
    """The gaps of a Poisson process vary as much as they are long."""
    gaps_s = np.diff(due_times_s(500, 10, seed=seed))
    assert 0.8 < gaps_s.std() / gaps_s.mean() < 1.2


def test_most_many_and_nearly_all() -> None:
    """Of a hundred and one waits; of none, no number."""
    found = latency([float(it) for it in range(101)])
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (50, 95, 99)
    assert math.isnan(latency([]).p50_ms)
