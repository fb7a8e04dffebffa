"""The processor time of the thread that runs the event loop. Part of the metrics page."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric


class EventLoopTime:
    """A collector that reads the processor time of one thread at each request of the page, from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Measure the calling thread, from its start."""
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the counter."""
        # A rate near 1: the event loop is the bottleneck, and another worker helps.
        yield CounterMetricFamily(
            "gist_event_loop_cpu_seconds", "Processor time of the event loop.", value=time.clock_gettime(self._clock)
        )
