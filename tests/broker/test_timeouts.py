"""Bounded waits that keep cancellations."""

from __future__ import annotations

import asyncio

import pytest

from worker.broker.timeouts import with_timeout


async def test_a_result_or_an_exception_in_time_is_passed_on() -> None:

    async def answer() -> int:
        return 3

    async def fail() -> int:
        raise ValueError("no")

    assert await with_timeout(5, answer()) == 3
    with pytest.raises(ValueError, match="no"):
        await with_timeout(5, fail())


async def test_late_work_is_cancelled_and_has_ended_when_the_timeout_is_raised() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True
            raise ValueError("ignored")

    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        await with_timeout(0, work())
    assert ended


@pytest.mark.parametrize("is_failing", [False, True])
async def test_a_cancellation_together_with_the_result_is_kept(*, is_failing: bool) -> None:
    """A cancellation before the result also cancels the work."""
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
