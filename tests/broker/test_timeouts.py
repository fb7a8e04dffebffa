"""Waiting within a bound: what comes in time comes through, and no cancellation is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from worker.broker.timeouts import with_timeout


async def test_an_answer_in_time_comes_through() -> None:
    """And so does a failure."""

    async def answer() -> int:
        return 3

    async def fail() -> int:
        raise ValueError("no")

    assert await with_timeout(5, answer()) == 3
    with pytest.raises(ValueError, match="no"):
        await with_timeout(5, fail())


async def test_work_that_is_late_is_cancelled() -> None:
    """It has ended when that is told, however it ends."""
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True
            raise ValueError("interests nobody")

    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        await with_timeout(0, work())
    assert ended


@pytest.mark.parametrize("is_failing", [False, True])
async def test_a_cancellation_that_comes_with_the_answer_is_not_forgotten(*, is_failing: bool) -> None:
    """Nor one that comes before it, which ends the work."""
    for is_done in (True, False):
        work = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(with_timeout(5, work))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if is_done:
            work.set_exception(ValueError()) if is_failing else work.set_result(3)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert work.cancelled() is not is_done
