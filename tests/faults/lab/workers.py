"""Worker processes that are killed, frozen and restarted."""

from __future__ import annotations

import asyncio
import signal
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.support.workers import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.lab.history import History

PROGRAM = ("-m", "tests.faults.lab.program")
# Short limits: a test should see a takeover, not wait for it.
_SETTINGS = {
    "session_timeout_ms": 6_000,
    "heartbeat_interval_ms": 500,
    "drain_timeout_ms": 5_000,
    "rebalance_timeout_ms": 8_000,
    "request_timeout_ms": 12_000,
    "delivery_timeout_ms": 15_000,
    "transaction_timeout_ms": 10_000,
    "retry_backoff_max_ms": 1_000,
    "commit_interval_ms": 200,
    "max_batch_records": 64,
    "max_batch_tokens": 1_024,
    "max_in_flight_tokens": 4_096,
    "resume_in_flight_tokens": 2_048,
    "max_poll_records": 50,
}

# No worker may grow beyond this, whatever happens; Python with all its libraries and a small model takes a quarter of it.
MAX_RESIDENT_BYTES = 600_000_000
# The gauge's upper bound, and what one poll may add to it.
MAX_IN_FLIGHT_TOKENS = _SETTINGS["max_in_flight_tokens"] + _SETTINGS["max_poll_records"] * 64


class LabWorker(WorkerProcess):
    """A worker of the laboratory; `tests.faults.lab.program` reads the settings that begin with `fault_`."""

    def __init__(
        self, name: str, history: History, bootstrap_servers: str, topic: str, program: Sequence[str], **settings: object
    ) -> None:
        faults = {key.upper(): str(value) for key, value in settings.items() if key.startswith("fault_")}
        rest = {key: value for key, value in settings.items() if not key.startswith("fault_")}
        super().__init__(bootstrap_servers, topic, program=program, **_SETTINGS | rest)
        self.environment = faults
        self.name = name
        self.is_suspended = False
        #: What it may be and have in flight; a scenario with a real model, or with huge records, raises it.
        self.max_resident_bytes = MAX_RESIDENT_BYTES
        self.max_in_flight_tokens = MAX_IN_FLIGHT_TOKENS
        # How its processes ended, in order.
        self.exits: list[int] = []
        self._history = history

    @property
    def is_running(self) -> bool:
        """Whether the worker has a process, also if the process is frozen."""
        return self.process is not None and self.process.poll() is None

    def launch(self, **environment: str) -> None:
        """Start a process; `environment` replaces the faults of the constructor."""
        if environment or self.process is not None:
            self.environment = environment
        self.start()
        assert self.process is not None
        self._history.note("worker_started", worker=self.name, pid=self.process.pid, log=str(self.log), **self.environment)

    async def kill(self) -> None:
        """Kill the process, as a crash does."""
        self._history.fault("kill_worker", worker=self.name)
        await self._ended(signal.SIGKILL)

    async def stop(self) -> int:
        """Drain the worker; return its exit code."""
        return await self._ended(signal.SIGTERM)

    async def exited(self, timeout_s: float) -> int:
        """Return the exit code of a worker that ends by itself; raises `TimeoutExpired` if it does not."""
        assert self.process is not None
        return self._note_exit(await asyncio.to_thread(self.process.wait, timeout_s))

    def suspend(self) -> None:
        """Freeze the process."""
        self._history.fault("suspend_worker", worker=self.name)
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.is_suspended = True

    def has_frozen(self) -> bool:
        """Whether the process has frozen itself (see FAULT_FREEZE in `program`), which is noted as a fault."""
        assert self.process is not None
        assert self.is_running, f"{self.name} died before it could freeze; its log: {self.log}"
        if not self.is_suspended and _state(self.process.pid) == "T":
            self._history.fault("frozen_at", worker=self.name, **self.environment)
            self.is_suspended = True
        return self.is_suspended

    def resume(self) -> None:
        """Continue the process."""
        self._history.note("resume_worker", worker=self.name)
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.is_suspended = False

    def send(self, number: signal.Signals) -> None:
        """Send a signal that `program` handles."""
        self._history.fault("signal_worker", worker=self.name, signal=number.name)
        assert self.process is not None
        self.process.send_signal(number)

    def sample(self) -> tuple[float, float] | None:
        """Return resident bytes and tokens in flight; None if the worker does not answer."""
        if not self.is_running or self.is_suspended:
            return None
        try:
            return self.metric("process_resident_memory_bytes"), self.metric("gist_in_flight_tokens")
        except (urllib.error.URLError, OSError):
            return None

    async def _ended(self, how: signal.Signals) -> int:
        if self.is_suspended:
            self.resume()
        return self._note_exit(await self.end(how))

    def _note_exit(self, code: int) -> int:
        self.exits.append(code)
        self._history.note("worker_ended", worker=self.name, exit_code=code)
        return code


async def hold_to_limits(workers: Sequence[LabWorker], history: History, report: Callable[[str], None]) -> None:
    """Compare memory and tokens in flight of the workers with their limits once a second, and report each excess."""
    while True:
        for worker in list(workers):
            if (sample := await asyncio.to_thread(worker.sample)) is None:
                continue
            resident_bytes, in_flight_tokens = sample
            history.note("sample", worker=worker.name, resident_bytes=resident_bytes, in_flight_tokens=in_flight_tokens)
            if resident_bytes > worker.max_resident_bytes or in_flight_tokens > worker.max_in_flight_tokens:
                report(f"limits: {worker.name} has {resident_bytes:.0f} bytes, {in_flight_tokens:.0f} tokens in flight")
        await asyncio.sleep(1)


def _state(pid: int) -> str:
    """Return the kernel's state of a process: `T` is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
