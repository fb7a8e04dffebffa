"""Sharing: a pass that is alone has all threads, those beside each other their share, and the numbers come back."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from worker.model.processor.thread_sharing import ThreadBudget

pytestmark = pytest.mark.model


def threads_of_a_pass(sharing: ThreadBudget, *, gives_way: bool = False) -> int:
    """Return how many threads a pass has that begins now, in a thread of its own."""

    def run() -> int:
        with sharing.taken(gives_way=gives_way):
            return torch.get_num_threads()

    with ThreadPoolExecutor(1) as one:
        return one.submit(run).result()


@pytest.mark.parametrize(
    ("num_threads", "passes", "expected"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 3), (5, 0, 4), (6, 0, 3), (7, 0, 3), (16, 0, 4), (16, 1, 1), (16, 8, 8), (2, 8, 2)],
)
def test_there_are_no_more_passes_than_threads(num_threads: int, passes: int, expected: int) -> None:
    """As many as are asked for, else at most four, and so many that the fewest threads are left over."""
    assert ThreadBudget(num_threads, passes=passes).max_passes == expected


def test_a_pass_that_is_alone_has_all_threads_and_others_share() -> None:
    """The second has its share, and the next that is alone has all again."""
    sharing = ThreadBudget(4, passes=2)
    assert threads_of_a_pass(sharing) == 4
    with ThreadPoolExecutor(1) as other, sharing.taken():
        assert torch.get_num_threads() == 4
        assert threads_of_a_pass(sharing) == 2
        assert other.submit(threads_of_a_pass, sharing).result() == 2
    torch.set_num_threads(2)
    assert threads_of_a_pass(sharing) == 4


def test_a_pass_that_gives_way_has_all_threads_and_takes_none() -> None:
    """It runs while the others do not."""
    sharing = ThreadBudget(4, passes=2)
    with sharing.taken():
        assert threads_of_a_pass(sharing, gives_way=True) == 4
    with sharing.taken(gives_way=True):
        assert threads_of_a_pass(sharing) == 4
    torch.set_num_threads(2)


def test_a_pass_waits_for_a_pass_that_must_run_alone() -> None:
    """Whether it gives way or not: what one pass reads, another would overwrite."""
    sharing, seen = ThreadBudget(2, is_alone=True), []
    assert sharing.max_passes == 1

    def run() -> None:
        with sharing.taken(gives_way=True):
            seen.append("next")

    with ThreadPoolExecutor(1) as other:
        with sharing.taken():
            waiting = other.submit(run)
            seen.append("first")
        waiting.result(20)
    assert seen == ["first", "next"]


def test_others_may_prepare_while_a_pass_is_alone() -> None:
    """On a GPU; the threads of this machine are nobody's share then."""
    sharing = ThreadBudget(2, passes=2, is_alone=True)
    assert sharing.max_passes == 2
    torch.set_num_threads(1)
    assert threads_of_a_pass(sharing) == 1


def test_a_pass_that_fails_gives_its_threads_back() -> None:
    """Whatever it fails with."""
    sharing = ThreadBudget(2)
    with contextlib.suppress(RuntimeError), sharing.taken():
        raise RuntimeError
    assert threads_of_a_pass(sharing) == 2
    torch.set_num_threads(2)


def test_one_pass_at_a_time_keeps_all_threads() -> None:
    """Torch has the threads that it had."""
    before = torch.get_num_threads()
    with ThreadBudget(before + 1, passes=1).taken():
        assert torch.get_num_threads() == before
