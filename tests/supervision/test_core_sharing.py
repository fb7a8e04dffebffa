"""The division of CPU cores among replicas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.supervision.core_sharing import Share, divide


def test_neighbours_stay_together() -> None:
    """Each replica gets consecutive cores in the given order."""
    assert divide(2, cores=[0, 4, 1, 5], num_usable=4) == [Share(2, (0, 4)), Share(2, (1, 5))]
    assert divide(2, cores=[0, 1, 2], num_usable=3) == [Share(2, (0, 1)), Share(1, (2,))]


def test_a_limit_of_time_holds_nobody_to_cores() -> None:
    """A CPU quota applies to all cores, so the shares have threads and no cores."""
    assert divide(2, cores=range(64), num_usable=3) == [Share(2), Share(1)]


def test_more_replicas_than_cores_have_a_thread_each() -> None:
    """The shares have no cores: the scheduler places the threads."""
    assert divide(3, cores=[0, 1], num_usable=2) == [Share(1), Share(1), Share(1)]


@given(st.integers(1, 40), st.integers(1, 80), st.integers(1, 80))
def test_every_core_has_one_owner_and_shares_are_fair(num_replicas: int, num_cores: int, num_usable: int) -> None:
    """Either all cores are assigned once or none is, and the numbers of threads differ by at most one."""
    shares = divide(num_replicas, cores=range(num_cores), num_usable=num_usable)
    assert len(shares) == num_replicas
    threads = [share.threads for share in shares]
    assert min(threads) >= 1
    assert max(threads) - min(threads) <= 1
    assert sum(threads) == max(num_replicas, min(num_cores, num_usable))
    held = [core for share in shares for core in share.cores]
    assert held in ([], list(range(num_cores)))
    assert all(len(share.cores) in (0, share.threads) for share in shares)
