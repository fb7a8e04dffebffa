"""The autoscaler's settings, tried on loads of hours: never more workers than partitions, no thrashing, and the backlog goes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scale.autoscaler import STEP_S, History, Look, ScaledObject, World, simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WORLD = World()
_TARGET_S = 60.0
_UTILISATION = 0.7


def by_seconds(look: Look) -> float:
    """Ask for the replicas that keep up with what is done, and drain what waits within the target besides."""
    return (look.tokens_per_s + look.lag_tokens / _TARGET_S) / look.capacity_per_s / _UTILISATION


def by_lag(look: Look) -> float:
    """Ask for a replica for each so many records that wait: what KEDA's own Kafka trigger does."""
    return look.lag_records / 20_000


def by_seconds_alone(look: Look) -> float:
    """Scale the present number by the group's seconds to drain over the target: what one would write first."""
    return look.num_replicas * (look.lag_tokens / max(1.0, look.tokens_per_s)) / _TARGET_S


def by_sum_of_seconds(look: Look) -> float:
    """Ask for a replica for each half minute that the workers need together: what one would write next."""
    return look.lag_tokens / look.capacity_per_s / 30


def noisy(load: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    """Return a load as it is recorded: with a minute's mood and chance on top."""
    random = np.random.default_rng(seed)
    steps = 60 // STEP_S
    minutes = np.repeat(random.lognormal(0, 0.15, len(load) // steps + 1), steps)[: len(load)]
    return load * minutes * random.lognormal(0, 0.3, len(load))


def diurnal(hours: int = 24) -> NDArray[np.float64]:
    """Return a day: from a tenth of what all can do at night to seven tenths at noon."""
    seconds = np.arange(0, hours * 3600, STEP_S)
    return WORLD.num_partitions * WORLD.capacity_per_s * (0.4 - 0.3 * np.cos(seconds / 86_400 * 2 * np.pi))


def burst() -> NDArray[np.float64]:
    """Return two quiet hours in which 200 seconds bring three times what all can do."""
    load = np.full(7200 // STEP_S, 0.1 * WORLD.num_partitions * WORLD.capacity_per_s)
    load[1800 // STEP_S : 2000 // STEP_S] = 3.0 * WORLD.num_partitions * WORLD.capacity_per_s
    return load


def ramp() -> NDArray[np.float64]:
    """Return an hour from nothing to eight tenths of what all can do, an hour there, and an end at once."""
    top, hour = 0.8 * WORLD.num_partitions * WORLD.capacity_per_s, 3600 // STEP_S
    return np.concatenate([np.linspace(0, top, hour), np.full(hour, top), np.zeros(hour)])


LOADS = {"diurnal": diurnal(), "burst": burst(), "ramp": ramp()}
MANIFESTS = {
    "seconds": ScaledObject(wanted=by_seconds),
    # Lag goes to and fro by itself: what keeps the replicas is the window.
    "lag": ScaledObject(wanted=by_lag, down_window_s=1800),
}


def longest_wait_s(history: History, above_tokens: float) -> int:
    """Return the longest stretch of seconds with more than so much waiting."""
    stretches = (
        len(list(group)) for is_above, group in itertools.groupby(it > above_tokens for it in history.lag_tokens) if is_above
    )
    return max(stretches, default=0) * STEP_S


@pytest.mark.parametrize("manifest", MANIFESTS)
@pytest.mark.parametrize("load", LOADS)
def test_no_load_makes_it_thrash_or_wait(load: str, manifest: str) -> None:
    """At most 12 changes in an hour with a burst in it, never more than partitions, and the backlog gone in twenty minutes."""
    history = simulate(MANIFESTS[manifest], noisy(LOADS[load], seed=1), WORLD)
    assert min(history.replicas) >= 1
    assert max(history.replicas) <= WORLD.num_partitions
    assert history.most_changes_in_an_hour <= 12
    # A minute's work of all of them.
    assert longest_wait_s(history, 60 * WORLD.num_partitions * WORLD.capacity_per_s) < 1200


def test_a_day_is_followed_calmly() -> None:
    """With few changes, fewer of them against the one before, and little that waits."""
    ours = simulate(MANIFESTS["seconds"], noisy(diurnal(), seed=2), WORLD)
    assert len(ours.changes_s) <= 48
    assert ours.turns <= 16
    assert np.percentile(np.array(ours.lag_tokens) / (np.array(ours.replicas) * WORLD.capacity_per_s), 99) < _TARGET_S


@pytest.mark.parametrize("wanted", [by_seconds_alone, by_sum_of_seconds])
def test_what_waits_alone_makes_it_thrash(wanted: Callable[[Look], float]) -> None:
    """It says nothing of the load that is kept up with: no lag, no replicas, and then lag again."""
    load = noisy(diurnal()[9 * 720 : 15 * 720], seed=2)
    hasty = simulate(ScaledObject(wanted=wanted, min_replicas=2, down_window_s=600, down_period_s=120), load, WORLD)
    ours = simulate(MANIFESTS["seconds"], load, WORLD)
    assert len(hasty.changes_s) > 3 * len(ours.changes_s)
    assert hasty.turns > 3 * max(1, ours.turns)


@settings(max_examples=20)
@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=20),
    st.integers(0, 1000),
    st.sampled_from([by_seconds, by_lag, by_seconds_alone]),
)
def test_whatever_comes_there_are_never_more_than_partitions(
    shares: list[float], seed: int, wanted: Callable[[Look], float]
) -> None:
    """And never more than one pod in a period goes, so that no two rebalances of a scale-down fall together."""
    load = np.repeat(np.array(shares) * WORLD.num_partitions * WORLD.capacity_per_s, 120 // STEP_S)
    manifest = ScaledObject(wanted=wanted, down_window_s=60)
    history = simulate(manifest, noisy(load, seed=seed), WORLD)
    assert manifest.min_replicas <= min(history.replicas)
    assert max(history.replicas) <= manifest.max_replicas
    downs = [it for it in history.changes_s if history.step(it) < 0]
    assert all(later - earlier >= manifest.down_period_s for earlier, later in itertools.pairwise(downs))
    assert all(history.step(it) == -1 for it in downs)
