"""Timeouts that keep a cancellation which arrives together with the result.

Before Python 3.12 `asyncio.wait_for` drops such a cancellation, and a task that should stop continues. `asyncio.timeout` is no
replacement: aiokafka would run in the cancelled task, and it swallows a cancellation while it closes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

Answer = TypeVar("Answer")


async def with_timeout(timeout_s: float, work: Awaitable[Answer]) -> Answer:
    """Return the result of `work`, or cancel it and raise `TimeoutError` after `timeout_s` seconds."""
    task: asyncio.Future[Answer] = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=timeout_s)
    except asyncio.CancelledError:
        await _cancel(task)
        raise
    if not task.done():
        await _cancel(task)
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    return task.result()


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Cancel a task, wait for its end, and ignore its result."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
