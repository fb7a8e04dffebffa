"""Waiting within a bound, without forgetting a cancellation that comes with the answer.

`asyncio.wait_for` does forget it before Python 3.12: a task that is told to stop at the very moment at which a request of its fails
would go on for ever. `asyncio.timeout` would run Kafka's client in the very task that is cancelled, and the client swallows a
cancellation while it closes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

Answer = TypeVar("Answer")


async def with_timeout(timeout_s: float, work: Awaitable[Answer]) -> Answer:
    """Return what `work` gives, or raise `TimeoutError` after so many seconds; what nobody waits for any more is cancelled."""
    task: asyncio.Future[Answer] = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=timeout_s)
    except asyncio.CancelledError:
        await _ended(task)
        raise
    if not task.done():
        await _ended(task)
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    return task.result()


async def _ended(task: asyncio.Future[Any]) -> None:
    """Cancel what runs, and wait until it has ended; what it ends with interests nobody."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
