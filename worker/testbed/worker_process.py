"""Starts workers as processes, and the embedded broker if no broker is configured."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from worker.errors import BadModel
from worker.testbed.embedded_kafka import EmbeddedKafka, find_free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_READY_TIMEOUT_S = 120.0
# A benchmark measures the start with this resolution.
_READY_INTERVAL_S = 0.02
_STOP_TIMEOUT_S = 60.0


class WorkerProcess:
    """A worker process with a log file.

    The process inherits the environment; `settings`, by name, override it. With `is_kept` the worker continues after this process
    ends. `cores` pins the worker. `program` is the module to run and its arguments.
    """

    def __init__(
        self,
        settings: Mapping[str, object],
        log: Path,
        *,
        is_kept: bool = False,
        cores: Sequence[int] = (),
        program: Sequence[str] = ("worker", "run"),
    ) -> None:
        """Start the process; `wait_until_ready` returns when it serves."""
        own = {"http_port": find_free_port(), "log_format": "json", "session_timeout_ms": 10_000} | dict(settings)
        self._environment = _build_environment(own)
        self._log = log
        self._cores = cores
        self._program = program
        self._is_kept = is_kept
        self.url = f"http://127.0.0.1:{own['http_port']}"
        self.process = self._start()

    async def wait_until_ready(self) -> None:
        """Return when `/readyz` succeeds; raises `BadModel` with the end of the log if the process ends or takes too long."""
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not await asyncio.to_thread(_is_ready, self.url):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise BadModel(f"the worker did not start: {self._log.read_text()[-1000:]}")
            await asyncio.sleep(_READY_INTERVAL_S)

    async def metrics(self) -> dict[str, float]:
        """Return the samples of `/metrics` by name, labels included."""
        return await asyncio.to_thread(_metrics, self.url)

    def crash(self) -> None:
        """Kill the process with SIGKILL, and start another."""
        self.kill()
        self.process = self._start()

    def kill(self) -> None:
        """Send SIGKILL; the next worker repeats uncommitted work."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Stop the process with a drain, and start another."""
        self.stop()
        self.process = self._start()

    def stop(self) -> None:
        """Stop the process with a drain, unless it is kept."""
        if not self._is_kept and self.process.poll() is None:
            _stop(self.process)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            command = [sys.executable, "-P", "-m", *self._program]
            process = subprocess.Popen(  # noqa: S603
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=self._is_kept
            )
        if self._cores:
            # Before the process has a second thread: threads inherit the affinity.
            os.sched_setaffinity(process.pid, self._cores)
        return process


class ConsoleProcess:
    """The console of a worker, as a process of low priority: the worker keeps its speed. `settings` override the environment."""

    def __init__(self, settings: Mapping[str, object], worker_url: str, log: Path, *, api_url: str) -> None:
        """Start the process. The page answers seconds later."""
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}/"
        command = ["nice", sys.executable, "-P", "-m", "worker", "console", "--port", f"{port}"]
        command += ["--worker", worker_url, "--api", api_url]
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                env=_build_environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop the process."""
        _stop(self.process)


@contextlib.contextmanager
def run_kafka(
    say: Callable[[str], None], *, directory: Path | None = None, is_kept: bool = False
) -> Iterator[tuple[str, int | None]]:
    """Yield the bootstrap servers of the environment, or those of an embedded broker with its process id."""
    if servers := os.environ.get("GIST_BOOTSTRAP_SERVERS"):
        say(f"Kafka       {servers}, from GIST_BOOTSTRAP_SERVERS")
        yield servers, None
        return
    started_s = time.monotonic()
    say("Kafka       starting an embedded broker (downloads 57 MB the first time) …")
    broker = EmbeddedKafka(directory=directory, is_kept=is_kept).start()
    try:
        say(f"            ready at {broker.bootstrap_servers} after {time.monotonic() - started_s:.1f} s")
        yield broker.bootstrap_servers, broker.pid
    finally:
        if not is_kept:
            broker.stop()


def _build_environment(settings: Mapping[str, object]) -> dict[str, str]:
    # A worker of a checkout keeps its bytecode, as an installed worker has it: compiling takes a quarter of a start.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {f"GIST_{name.upper()}": str(value) for name, value in settings.items()}


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310  a worker of this machine
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def _metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  a worker of this machine
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and line[0] != "#")}
