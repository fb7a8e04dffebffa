"""The backlog in tokens, and the time to drain it in seconds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.observability.load_estimate import MAX_SECONDS, LoadEstimate, LoadEstimator
from worker.records import Partition

A, B = Partition("texts", 0), Partition("texts", 1)


def working(load: LoadEstimator, per_s: int, *, seconds: int, lag: int = 1_000, first_s: float = 0.0) -> LoadEstimate:
    """Process one partition with a backlog for `seconds`, at `per_s` tokens per second."""
    found = load.look(first_s, lag_records={A: lag}, in_flight_tokens={A: 0})
    for second in range(1, seconds + 1):
        load.inferred({A: per_s}, began_s=first_s + second - 0.9, ended_s=first_s + second)
        found = load.look(first_s + second, lag_records={A: lag}, in_flight_tokens={A: 0})
    return found


def test_a_backlog_is_its_records_times_their_mean_and_what_is_in_flight() -> None:
    """The mean is that of the partition, or that of all partitions if no record of the partition was read."""
    load = LoadEstimator()
    assert load.look(0, lag_records={A: 2}, in_flight_tokens={}).lag_tokens == {A: 64}
    for tokens in (10, 30):
        load.tokenized(A, tokens)
    found = load.look(1, lag_records={A: 3, B: 1}, in_flight_tokens={A: 7})
    assert found.lag_tokens == {A: 67, B: 20}


def test_the_mean_follows_texts_that_become_longer() -> None:
    """The mean adapts within some thousands of records."""
    load = LoadEstimator()
    for tokens in (10, 200):
        for _ in range(5_000):
            load.tokenized(A, tokens)
    assert load.look(0, lag_records={A: 1}, in_flight_tokens={}).lag_tokens[A] == pytest.approx(200, rel=0.02)


def test_a_steady_worker_says_how_long_it_takes() -> None:
    """The time of the worker equals that of its only partition."""
    found = working(LoadEstimator(), 320, seconds=20)
    assert found.capacity_per_s == pytest.approx(320)
    assert found.worker_seconds_to_drain == pytest.approx(32_000 / 320)
    assert found.seconds_to_drain[A] == pytest.approx(found.worker_seconds_to_drain)


def test_an_idle_worker_has_nothing_to_drain_and_keeps_its_speed() -> None:
    """The capacity stays constant for any idle time, because it does not depend on the input rate."""
    load = LoadEstimator()
    working(load, 320, seconds=20)
    for second in range(21, 4_000):
        load.inferred({A: 32}, began_s=second - 0.1, ended_s=second)
        found = load.look(second, lag_records={A: 0}, in_flight_tokens={A: 0})
    assert found.worker_seconds_to_drain == 0
    assert found.seconds_to_drain == {A: 0}
    assert found.capacity_per_s == pytest.approx(320)


def test_a_worker_that_is_stuck_needs_for_ever_which_is_a_day() -> None:
    """A stuck worker needs the maximum, one day; a worker that has just started has no value yet."""
    load = LoadEstimator()
    working(load, 320, seconds=20)
    for second in range(21, 1_000):
        found = load.look(second, lag_records={A: 1_000}, in_flight_tokens={A: 0})
    assert found.worker_seconds_to_drain == MAX_SECONDS
    fresh = LoadEstimator()
    early = [fresh.look(now, lag_records={A: 5}, in_flight_tokens={}).worker_seconds_to_drain for now in (0, 1, 20)]
    assert early == [None, None, MAX_SECONDS]


def test_lag_that_never_arrives_leaves_the_capacity_as_it_was() -> None:
    """An autoscaler divides by the capacity, which must not fall while the worker has no records to process."""
    load = LoadEstimator()
    working(load, 320, seconds=20)
    for second in range(21, 1_000):
        found = load.look(second, lag_records={A: 1}, in_flight_tokens={A: 0})
    assert found.capacity_per_s == pytest.approx(320)
    for second in range(1_000, 1_300):
        found = load.look(second, lag_records={A: 1}, in_flight_tokens={A: 30})
    assert found.capacity_per_s is not None
    assert found.capacity_per_s < 1


def test_a_partition_that_stands_still_shows_although_the_worker_is_well() -> None:
    """A partition makes no progress if its session is reopened again and again, for example."""
    load = LoadEstimator()
    for second in range(400):
        load.inferred({A: 320}, began_s=second - 0.9, ended_s=second)
        found = load.look(second, lag_records={A: 100, B: 100}, in_flight_tokens={})
    assert found.seconds_to_drain[B] == MAX_SECONDS
    assert found.seconds_to_drain[A] < 100


def test_a_partition_that_was_idle_is_promised_a_fair_share() -> None:
    """The estimate holds until the speed of the partition is measured."""
    load = LoadEstimator()
    working(load, 320, seconds=20)
    found = load.look(21, lag_records={A: 1_000, B: 10}, in_flight_tokens={})
    assert found.seconds_to_drain[B] == pytest.approx(320 / 160, rel=0.1)


def test_a_partition_that_left_is_forgotten() -> None:
    """The mean of its texts is dropped as well."""
    load = LoadEstimator()
    load.tokenized(A, 1_000)
    assert load.look(0, lag_records={B: 1}, in_flight_tokens={}).lag_tokens.keys() == {B}
    load.tokenized(B, 10)
    assert load.look(1, lag_records={A: 1}, in_flight_tokens={}).lag_tokens[A] == pytest.approx(505)


EVENTS = st.lists(
    st.tuples(
        st.floats(-1, 1e4),
        st.dictionaries(st.sampled_from([A, B]), st.integers(0, 10**12)),
        st.dictionaries(st.sampled_from([A, B]), st.integers(0, 10**9)),
        st.dictionaries(st.sampled_from([A, B]), st.integers(0, 10**9)),
        st.floats(0, 1e4),
        st.integers(1, 10**6),
    ),
    max_size=30,
)


@given(EVENTS)
def test_whatever_happens_every_figure_is_a_number_within_its_bounds(
    events: list[tuple[float, dict[Partition, int], dict[Partition, int], dict[Partition, int], float, int]],
) -> None:
    """Every value is between 0 and one day, 0 for an idle worker, also if the clock stops or goes back."""
    load, now_s = LoadEstimator(), 0.0
    for step_s, lag, in_flight, done, pass_s, tokens in events:
        now_s += step_s
        load.tokenized(A, tokens)
        load.inferred(done, began_s=now_s - pass_s, ended_s=now_s)
        found = load.look(now_s, lag_records=lag, in_flight_tokens=in_flight)
        assert found.lag_tokens.keys() == lag.keys() | in_flight.keys()
        assert all(math.isfinite(count) and count >= 0 for count in found.lag_tokens.values())
        seconds = [*found.seconds_to_drain.values(), found.worker_seconds_to_drain or 0.0]
        assert all(0 <= value <= MAX_SECONDS for value in seconds)
        assert found.capacity_per_s is None or (math.isfinite(found.capacity_per_s) and found.capacity_per_s >= 0)
        if not any(found.lag_tokens.values()):
            assert found.worker_seconds_to_drain == 0
        assert all((found.seconds_to_drain.get(partition) == 0) == (tokens == 0) for partition, tokens in found.lag_tokens.items())


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10_000))
def test_twice_the_backlog_takes_twice_as_long(lag: int, more: int, per_s: int) -> None:
    """At constant speed, a larger backlog never takes less time."""
    one, other = (working(LoadEstimator(), per_s, seconds=8, lag=backlog).worker_seconds_to_drain for backlog in (lag, lag + more))
    assert one is not None
    assert other is not None
    assert one <= other
    if other < MAX_SECONDS:
        assert other == pytest.approx(one * (lag + more) / lag)
