"""Processor time and memory of processes, looked at once a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_INTERVAL_S = 1.0
_MIB = 1024 * 1024


@dataclass(slots=True)
class Usage:
    """What some processes used together."""

    #: Processor seconds for each second: 2.0 keeps two cores busy.
    cores: float = 0.0
    #: Resident memory, MiB: at the last look, and the most of any.
    rss_mib: float = 0.0
    peak_rss_mib: float = 0.0
    #: Processor seconds in all.
    cpu_s: float = 0.0


class Watch:
    """Looks at some processes while it is entered; those that have ended count for nothing more."""

    def __init__(self, pids: Iterable[int]) -> None:
        """Watch these processes."""
        self.usage = Usage()
        self._processes = []
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._processes.append(psutil.Process(pid))
        self._began_s = time.monotonic()
        self._began_cpu_s = self._cpu_s()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to look."""
        self._task = asyncio.create_task(self._look_again())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Look once more and stop."""
        if self._task is not None:
            self._task.cancel()
        self._look()

    async def _look_again(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_INTERVAL_S)

    def _look(self) -> None:
        resident = 0.0
        for it in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                resident += it.memory_info().rss / _MIB
        self.usage.rss_mib = resident
        self.usage.peak_rss_mib = max(self.usage.peak_rss_mib, resident)
        self.usage.cpu_s = self._cpu_s() - self._began_cpu_s
        self.usage.cores = self.usage.cpu_s / max(1e-3, time.monotonic() - self._began_s)

    def _cpu_s(self) -> float:
        seconds = 0.0
        for it in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = it.cpu_times()
                seconds += float(times.user + times.system)
        return seconds
