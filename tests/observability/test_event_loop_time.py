"""The processor time of the event loop on the metrics page."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry, generate_latest

from worker.observability.event_loop_time import EventLoopTime


def read_seconds(registry: CollectorRegistry) -> float:
    """Return the value of the counter on the page."""
    lines = generate_latest(registry).decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("gist_event_loop_cpu_seconds_total"))


async def test_another_thread_reads_the_time_of_the_event_loop() -> None:
    """The counter covers the thread that created it, and not the thread that writes the page."""
    registry = CollectorRegistry()
    EventLoopTime(registry)
    before_s = time.thread_time()
    read_s = await asyncio.to_thread(read_seconds, registry)
    assert before_s <= read_s <= time.thread_time()
