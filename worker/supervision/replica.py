"""One worker process of several: started, asked over its socket, told by signals, awaited."""

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
# A replica that does not answer within that long is stuck, in seconds.
_ANSWER_TIMEOUT_S = 5.0
_OK = 200


class Replica:
    """A place for one worker process at a time, whose standard streams are ours."""

    def __init__(
        self, number: int, share: Share, *, socket: Path, environment: Mapping[str, str], program: Sequence[str] = _PROGRAM
    ) -> None:
        """Run in `environment`, on its share of the cores, and answer at a socket; nothing runs before `start`.

        Another `program` for Python is told the same: its number, our process, and its cores.
        """
        self._program = program
        self.number = number
        self._share = share
        self._socket = socket
        self._environment = environment
        # The process that runs, or the last that ran.
        self._process: asyncio.subprocess.Process | None = None
        # When it was started, in seconds of `time.monotonic`.
        self._began_s = 0.0
        # Whether it has answered since its start: one that has not is starting, not stuck.
        self._has_answered = False

    @property
    def pid(self) -> int | None:
        """The process that runs; None where none does."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def lived_s(self) -> float:
        """Seconds since its last start."""
        return time.monotonic() - self._began_s

    async def start(self) -> int:
        """Start a process and return its number."""
        self._socket.unlink(missing_ok=True)
        self._has_answered = False
        self._began_s = time.monotonic()
        cores = ",".join(map(str, self._share.cores))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*self._program, str(self.number), str(os.getpid()), cores),
            env=dict(self._environment),
            stdin=asyncio.subprocess.DEVNULL,
            # Ctrl-C is for us to hear and to pass on.
            process_group=0,
        )
        return self._process.pid

    async def wait(self) -> int:
        """Return the exit code of the process, or minus the signal that ended it."""
        if self._process is None:
            return 0
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, where somebody is there to hear it."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def metrics(self) -> str | None:
        """Return its exposition; None where it does not answer."""
        answer = await self._ask("metrics")
        return answer[1] if answer else None

    async def why_not_live(self) -> str | None:
        """Return why it is not live; None where it is, is starting, or is about to be started again."""
        answer = await self._ask("livez")
        if answer is None:
            is_stuck = self._has_answered and self.pid is not None
            return f"replica {self.number}: it does not answer" if is_stuck else None
        return self._reason(answer)

    async def why_not_ready(self) -> str | None:
        """Return why it is not ready; None where it is."""
        answer = await self._ask("readyz")
        return self._reason(answer) if answer else f"replica {self.number}: it does not serve yet"

    def _reason(self, answer: tuple[int, str]) -> str | None:
        status, text = answer
        return None if status == _OK else f"replica {self.number}: {text.strip()}"

    async def _ask(self, path: str) -> tuple[int, str] | None:
        """Return status and body; None where it does not answer in time."""
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
