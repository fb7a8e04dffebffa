"""The law that extrapolates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.scale.law import ScalabilityLaw, fit


def test_a_law_is_found_again() -> None:
    """From its own throughputs."""
    true = ScalabilityLaw(rate=1000, contention=0.05, coherence=0.002, max_measured=0, error=0)
    found = fit([(n, true.at(n)) for n in (1, 2, 3, 4, 8)])
    assert [found.rate, found.contention, found.coherence] == pytest.approx([1000, 0.05, 0.002])
    assert found.error < 1e-9
    assert found.peak == pytest.approx(math.sqrt(0.95 / 0.002))
    assert found.ceiling == pytest.approx(true.at(found.peak))


def test_two_numbers_of_replicas_do_not_tell_coherence() -> None:
    """And its limits say so."""
    found = fit([(1, 1000), (2, 1700)])
    assert [found.rate, found.at(2), found.coherence] == pytest.approx([1000, 1700, 0])
    assert "not fitted: coherence" in found.limits
    assert found.ceiling == pytest.approx(1000 / found.contention)


def test_one_number_of_replicas_tells_the_rate() -> None:
    """The middle of what was measured; it scales without a limit, for all we know."""
    found = fit([(1, 900), (1, 1100)])
    assert found.rate == pytest.approx(1000, rel=0.02)
    assert found.at(10) == pytest.approx(10 * found.rate)
    assert math.isinf(found.ceiling)
    assert math.isinf(found.peak)


def test_better_than_linear_is_taken_for_linear() -> None:
    """No coefficient is negative."""
    found = fit([(1, 1000), (2, 2200), (4, 4800)])
    assert (found.contention, found.coherence) == (0, 0)
    assert found.error > 0.05


def test_nothing_measured_is_no_law() -> None:
    """Nor is a way that did nothing."""
    with pytest.raises(ValueError, match="needs a measurement"):
        fit([(1, 0.0)])


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(1, 1e6)), min_size=1, max_size=12))
def test_every_law_is_finite_and_possible(measured: list[tuple[int, float]]) -> None:
    """Whatever the noise."""
    found = fit(measured)
    assert found.rate > 0
    assert found.contention >= 0
    assert found.coherence >= 0
    assert all(0 < found.at(n) <= found.ceiling * (1 + 1e-6) for n in range(1, 200))
