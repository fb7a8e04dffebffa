"""What the commands start on this machine: a broker where none is named, and workers as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from worker.errors import BadModel
from worker.testbed.embedded_kafka import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_READY_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0


class WorkerProcess:
    """A worker process and its log.

    It inherits the environment; `settings`, by name, override it. With `is_kept` it goes on when this process ends. It may be held
    to some `cores`.
    """

    def __init__(self, settings: Mapping[str, object], log: Path, *, is_kept: bool = False, cores: Sequence[int] = ()) -> None:
        """Start it; `ready` says when it serves."""
        own = {"http_port": _free_port(), "log_format": "json", "session_timeout_ms": 10_000} | dict(settings)
        self._environment = os.environ | {f"GIST_{name.upper()}": str(value) for name, value in own.items()}
        self._log = log
        self._cores = cores
        self._is_kept = is_kept
        self.url = f"http://127.0.0.1:{own['http_port']}"
        self.process = self._start()

    async def ready(self) -> None:
        """Return once it is ready; raises `BadModel` with the end of its log where it is not."""
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not await asyncio.to_thread(_is_ready, self.url):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise BadModel(f"the worker did not start: {self._log.read_text()[-1000:]}")
            await asyncio.sleep(0.1)

    async def metrics(self) -> dict[str, float]:
        """Return what it shows Prometheus: the value of each sample by its name, labels included."""
        return await asyncio.to_thread(_metrics, self.url)

    def crash(self) -> None:
        """Kill it as nobody can prevent, and start another."""
        self.kill()
        self.process = self._start()

    def kill(self) -> None:
        """End it at once; what it had in flight is done again by whoever comes next."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Let it drain, and start another in its place."""
        self.stop()
        self.process = self._start()

    def stop(self) -> None:
        """Let it drain, unless it is to stay."""
        if not self._is_kept and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "worker", "run"]
            process = subprocess.Popen(  # noqa: S603
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=self._is_kept
            )
        if self._cores:
            # Before it has a second thread: each inherits what the first is held to.
            os.sched_setaffinity(process.pid, self._cores)
        return process


@contextlib.contextmanager
def kafka(say: Callable[[str], None], *, directory: Path | None = None, is_kept: bool = False) -> Iterator[tuple[str, int | None]]:
    """Give the address of the brokers that the environment names, or of an embedded one, and the process of that one."""
    if given := os.environ.get("GIST_BOOTSTRAP_SERVERS"):
        say(f"Kafka       {given}, as GIST_BOOTSTRAP_SERVERS says")
        yield given, None
        return
    began_s = time.monotonic()
    say("Kafka       starting a real one on this machine (the first time, 57 MB of it are fetched) …")
    broker = EmbeddedKafka(directory=directory, is_kept=is_kept).start()
    try:
        say(f"            ready at {broker.bootstrap_servers} after {time.monotonic() - began_s:.1f} s")
        yield broker.bootstrap_servers, broker.pid
    finally:
        if not is_kept:
            broker.stop()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310  our own worker
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def _metrics(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  our own worker
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and line[0] != "#")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
