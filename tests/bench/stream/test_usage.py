"""Memory and processor time of processes."""

from __future__ import annotations

import asyncio
import os
import sys

from worker.bench.stream.usage import Watch


async def test_the_memory_and_time_of_this_process_are_positive() -> None:
    """Memory, cores and processor seconds are positive."""
    async with Watch([os.getpid()]) as watch:
        sum(range(4_000_000))
    assert watch.usage.peak_rss_mib >= watch.usage.rss_mib > 1
    assert watch.usage.cores > 0
    assert watch.usage.cpu_s > 0
    assert watch.usage.loop_s > 0


async def test_a_process_that_has_ended_uses_nothing() -> None:
    """The measurement does not fail."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await child.wait()
    async with Watch([child.pid]) as watch:
        pass
    assert (watch.usage.peak_rss_mib, watch.usage.cores) == (0, 0)
