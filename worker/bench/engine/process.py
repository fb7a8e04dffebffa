"""The parent's end of a contestant's process: started, asked, ended; never left behind, never waited for without a bound."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Self

from worker.errors import GistStreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.bench.engine.job import Job

COMMAND = (sys.executable, "-P", "-m", "worker.bench.engine.contestant")
_NUM_LAST_BYTES = 4000
_PATIENCE_S = 5
_CHUNK_BYTES = 65_536


class Absent(GistStreamError):
    """The contestant is not here, and says why: list it without numbers."""


class Died(GistStreamError):
    """The contestant ended, or did not answer in time; the message holds its last words."""


class Candidate:
    """One process. Ends with the `with`, whatever happens inside."""

    def __init__(self, job: Job, *, environment: dict[str, str], timeout_s: float, command: Sequence[str] = COMMAND) -> None:
        """Start it; `timeout_s` bounds each answer."""
        # The longest that an answer may take.
        self.timeout_s = timeout_s
        # What it printed, of which the end is its last words.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        # What came of the next answer so far.
        self._line = b""
        # The most memory that it had used at its last answer.
        self.peak_bytes: int | None = None
        self._started = time.perf_counter()
        # Ctrl-C is the parent's to handle, so the contestant is not in the terminal's group.
        self._process = subprocess.Popen(  # noqa: S603  our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=os.environ | count_threads(job.threads) | environment,
            start_new_session=True,
        )
        self._job = job

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def ready(self) -> tuple[dict[str, Any], float]:
        """Give it its job and wait until it has run once; raises `Absent`, `Died`.

        Returns what it says of itself, and the seconds since its start.
        """
        self._send(self._job.as_json())
        answer = self._receive()
        if "absent" in answer:
            raise Absent(answer["absent"])
        about: dict[str, Any] = answer["ready"]
        return about, time.perf_counter() - self._started

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Ask for what a method of the contestant returns; raises `Died`."""
        self._send({"ask": name, **arguments})
        received = self._receive()
        self.peak_bytes = received["peak_bytes"]
        answer: dict[str, Any] = received["answer"]
        return answer

    def close(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._words):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    # What it was asked last never left.
                    continue

    def _send(self, question: dict[str, Any]) -> None:
        if self._process.stdin is None:
            raise TypeError(self._process)
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Died(self._last_words()) from error

    def _receive(self) -> dict[str, Any]:
        """Return the next line; never wait longer than the bound."""
        if self._process.stdout is None:
            raise TypeError(self._process)
        until_s = time.monotonic() + self.timeout_s
        while b"\n" not in self._line:
            if not select.select([self._process.stdout], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise Died(f"no answer within {self.timeout_s:.0f} s")
            if not (chunk := os.read(self._process.stdout.fileno(), _CHUNK_BYTES)):
                raise Died(self._last_words())
            self._line += chunk
        line, _, self._line = self._line.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        """Return the exit code and the last line of what it printed."""
        try:
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            code = 0
        size = self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, size - _NUM_LAST_BYTES))
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f"died with {code}: {lines[-1] if lines else 'it said nothing'}"


def count_threads(threads: int) -> dict[str, str]:
    """Return the environment that fixes the threads of everything that could start some."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return dict.fromkeys(names, str(threads)) | {
        "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"
    }  # fmt: skip
