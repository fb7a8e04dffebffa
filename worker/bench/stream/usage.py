"""Measures processor time and memory of processes once per second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

_INTERVAL_S = 1.0
_MIB = 1024 * 1024


@dataclass(slots=True)
class Usage:
    """Resources of several processes together."""

    #: Processor seconds per second: 2.0 keeps two cores busy.
    cores: float = 0.0
    #: Resident memory in MiB: at the last sample, and the maximum.
    rss_mib: float = 0.0
    peak_rss_mib: float = 0.0
    #: Processor seconds in all, and of the main threads, which run the event loops.
    cpu_s: float = 0.0
    loop_s: float = 0.0


class Watch:
    """Samples processes while it is entered; a process that has ended adds nothing more."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.usage = Usage()
        self._processes = []
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._processes.append(psutil.Process(pid))
        self._started_s = time.monotonic()
        self._started_cpu_s, self._started_loop_s = self._sum(_read_cpu_s), self._sum(_read_loop_s)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sample_forever())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._sample()

    async def _sample_forever(self) -> None:
        while True:
            self._sample()
            await asyncio.sleep(_INTERVAL_S)

    def _sample(self) -> None:
        self.usage.rss_mib = self._sum(lambda process: process.memory_info().rss / _MIB)
        self.usage.peak_rss_mib = max(self.usage.peak_rss_mib, self.usage.rss_mib)
        self.usage.cpu_s = self._sum(_read_cpu_s) - self._started_cpu_s
        self.usage.loop_s = self._sum(_read_loop_s) - self._started_loop_s
        self.usage.cores = self.usage.cpu_s / max(1e-3, time.monotonic() - self._started_s)

    def _sum(self, read: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += read(process)
        return total


def _read_cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _read_loop_s(process: psutil.Process) -> float:
    """Return the processor seconds of the main thread, whose id is that of the process."""
    return sum(float(thread.user_time + thread.system_time) for thread in process.threads() if thread.id == process.pid)
