"""The parent's side of a candidate's process: start, ask, end. Every wait has a time limit."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Self

from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND = (sys.executable, "-P", "-m", "worker.bench.frame.serve")
_NUM_LAST_BYTES = 4000
_EXIT_TIMEOUT_S = 5
_CHUNK_BYTES = 65_536


class CandidateUnavailable(BadModel):
    """The candidate cannot run on this machine; the message is the reason."""


class CandidateFailed(BadModel):
    """The candidate ended, or did not answer in time; the message has the end of its stderr."""


class Candidate:
    """One process, which ends with the `with` block."""

    def __init__(
        self,
        role: str,
        options: Mapping[str, Any],
        *,
        threads: int,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Start the process of a role, `module:Class`, built from `options`; `timeout_s` bounds each answer."""
        self.timeout_s = timeout_s
        # The stderr of the process.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        # The received part of the next answer.
        self._line = b""
        # What the candidate said when it was ready, and how many seconds after its start.
        self._ready: tuple[dict[str, Any], float] | None = None
        # Peak memory at the last answer.
        self.peak_bytes: int | None = None
        self._started = time.perf_counter()
        # The parent handles Ctrl-C, so the candidate has a session of its own.
        self._process = subprocess.Popen(  # noqa: S603  a module of this package
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **build_thread_environment(threads), **(environment or {})},
            start_new_session=True,
        )
        self._job = {"role": role, "options": dict(options)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> tuple[dict[str, Any], float]:
        """Send the job and wait for the first forward pass; return the description and the seconds since the start.

        Raises `CandidateUnavailable` and `CandidateFailed`.
        """
        if self._ready is None:
            self._send(self._job)
            answer = self._receive()
            if "absent" in answer:
                raise CandidateUnavailable(answer["absent"])
            self._ready = answer["ready"], time.perf_counter() - self._started
        return self._ready

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Return the result of a method of the candidate, when it is ready; raises `CandidateUnavailable` and `CandidateFailed`."""
        self.ready()
        self._send({"ask": name, **arguments})
        received = self._receive()
        self.peak_bytes = received["peak_bytes"]
        answer: dict[str, Any] = received["answer"]
        return answer

    async def ask_async(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Return an answer as `ask` does, without blocking the event loop; cancelling kills the process."""
        try:
            return await asyncio.to_thread(self.ask, name, **arguments)
        except asyncio.CancelledError:
            # The end of its output ends the thread that reads.
            self._process.kill()
            raise

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    # The last question was never sent.
                    continue

    def _send(self, question: dict[str, Any]) -> None:
        if self._process.stdin is None:
            raise TypeError(self._process)
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise CandidateFailed(self._describe_exit()) from error

    def _receive(self) -> dict[str, Any]:
        """Return the next line."""
        if self._process.stdout is None:
            raise TypeError(self._process)
        until_s = time.monotonic() + self.timeout_s
        while b"\n" not in self._line:
            if not select.select([self._process.stdout], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise CandidateFailed(f"no answer within {self.timeout_s:.0f} s")
            if not (chunk := os.read(self._process.stdout.fileno(), _CHUNK_BYTES)):
                raise CandidateFailed(self._describe_exit())
            self._line += chunk
        line, _, self._line = self._line.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _describe_exit(self) -> str:
        """Return the exit code and the last line of stderr."""
        try:
            code = self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = 0
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _NUM_LAST_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"exit code {code}: {lines[-1] if lines else 'no output'}"


def build_thread_environment(threads: int) -> dict[str, str]:
    """Return the environment variables that fix the threads of every library."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return dict.fromkeys(names, str(threads)) | {
        "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"
    }  # fmt: skip
