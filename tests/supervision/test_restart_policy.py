"""The restart policy: the decision about a replica that has exited."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.supervision.restart_policy import FINAL_EXIT_CODES, Leave, Policy, Restart, StopAll

CODES = st.one_of(st.integers(-31, -1), st.sampled_from([0, 1, 7, 130, 143]))


@pytest.mark.parametrize("code", [2, 4, 5, 6])
def test_a_final_exit_code_stops_all_replicas(code: int) -> None:
    """The exit of another replica after that does not change the exit code."""
    policy = Policy()
    assert policy.ended(0, code, lived_s=100) == StopAll(code)
    assert policy.ended(1, -9, lived_s=100) == Leave()
    assert policy.exit_code == code


@pytest.mark.parametrize("code", [0, 1, 7, 143, -9, -11])
def test_everything_else_is_started_again(code: int) -> None:
    """A replica restarts after a signal, and after a clean exit without a request."""
    assert isinstance(Policy().ended(0, code, lived_s=0), Restart)
    assert code not in FINAL_EXIT_CODES


def test_a_first_start_that_fails_at_the_brokers_stops_all_replicas() -> None:
    """After a healthy life, or a first start without this failure, the brokers may return, and the replica is started again."""
    policy = Policy()
    assert policy.ended(0, -9, lived_s=1) == Restart(1)
    assert policy.ended(0, 3, lived_s=1) == Restart(2)
    assert policy.ended(1, 3, lived_s=100) == Restart(1)
    assert policy.ended(2, 3, lived_s=1) == StopAll(3)
    assert policy.exit_code == 3


def test_pauses_double_for_each_replica_alone_and_begin_anew_after_a_healthy_life() -> None:
    """The pause doubles up to the maximum."""
    policy = Policy(first_pause_s=1, max_pause_s=5, healthy_after_s=60)
    assert [policy.ended(0, -9, lived_s=1) for _ in range(4)] == [Restart(1), Restart(2), Restart(4), Restart(5)]
    assert policy.ended(1, -9, lived_s=1) == Restart(1)
    assert policy.ended(0, -9, lived_s=61) == Restart(1)
    assert policy.ended(0, -9, lived_s=1) == Restart(2)


def test_a_death_while_draining_is_an_exit_code_and_an_end_before_the_start_is_none() -> None:
    """A replica that SIGTERM ends before its signal handler is set had no work, so the exit code is 0."""
    policy = Policy()
    policy.stop()
    assert policy.ended(0, -signal.SIGTERM, lived_s=1) == Leave()
    assert policy.ended(1, 0, lived_s=1) == Leave()
    assert policy.exit_code == 0
    policy.ended(2, -signal.SIGKILL, lived_s=1)
    assert policy.exit_code == 7


@given(st.lists(st.tuples(st.integers(0, 3), CODES, st.floats(0, 1e6)), max_size=60))
def test_no_pause_is_longer_than_the_longest_or_shorter_than_the_first(ends: list[tuple[int, int, float]]) -> None:
    """The bounds hold for any number of exits."""
    policy = Policy()
    for replica, code, lived_s in ends:
        decision = policy.ended(replica, code, lived_s=lived_s)
        assert isinstance(decision, Restart)
        assert policy.first_pause_s <= decision.pause_s <= policy.max_pause_s
