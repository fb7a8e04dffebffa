"""One worker process of several: its start, its probes and metrics over a socket, its signals and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from worker.supervision.core_sharing import Share

_PROGRAM = ("-P", "-m", "worker.commands.run.replica")
# A replica that does not answer within this time is stuck, in seconds.
_ANSWER_TIMEOUT_S = 5.0
_OK = 200


class Replica:
    """A slot for one worker process at a time, with the standard streams of the supervisor."""

    def __init__(
        self, number: int, share: Share, *, socket: Path, environment: Mapping[str, str], program: Sequence[str] = _PROGRAM
    ) -> None:
        """Run in `environment`, on a share of the cores, with a socket for probes; nothing runs before `start`.

        `program` gets the number of the replica, the process id of the supervisor, and the cores as arguments.
        """
        self._program = program
        self.number = number
        self._share = share
        self._socket = socket
        self._environment = environment
        # The running process, or the last one.
        self._process: asyncio.subprocess.Process | None = None
        # Time of the last start, in seconds of `time.monotonic`.
        self._began_s = 0.0
        # Whether the process has answered since its start; before its first answer, it is starting and not stuck.
        self._has_answered = False

    @property
    def pid(self) -> int | None:
        """The id of the running process; None if no process runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def lived_s(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self._began_s

    async def start(self) -> int:
        """Start a process and return its id."""
        self._socket.unlink(missing_ok=True)
        self._has_answered = False
        self._began_s = time.monotonic()
        cores = ",".join(map(str, self._share.cores))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*self._program, str(self.number), str(os.getpid()), cores),
            env=dict(self._environment),
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C reaches only the supervisor, which forwards it.
            process_group=0,
        )
        return self._process.pid

    async def wait(self) -> int:
        """Return the exit code of the process, or minus the signal that ended it."""
        if self._process is None:
            return 0
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if one runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def metrics(self) -> str | None:
        """Return the metrics page; None if the process does not answer."""
        answer = await self._ask("metrics")
        return answer[1] if answer else None

    async def why_not_live(self) -> str | None:
        """Return the reason if the process is not live; None if it is live, is starting, or will be restarted."""
        answer = await self._ask("livez")
        if answer is None:
            is_stuck = self._has_answered and self.pid is not None
            return f"replica {self.number}: no answer" if is_stuck else None
        return self._reason(answer)

    async def why_not_ready(self) -> str | None:
        """Return the reason if the process is not ready; None if it is ready."""
        answer = await self._ask("readyz")
        return self._reason(answer) if answer else f"replica {self.number}: not serving yet"

    def _reason(self, answer: tuple[int, str]) -> str | None:
        status, text = answer
        return None if status == _OK else f"replica {self.number}: {text.strip()}"

    async def _ask(self, path: str) -> tuple[int, str] | None:
        """Return status and body; None if the process does not answer in time."""
        if self.pid is None:
            return None
        connector = aiohttp.UnixConnector(str(self._socket))
        timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(f"http://replica/{path}") as answer,
            ):
                self._has_answered = True
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
