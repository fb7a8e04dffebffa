"""Progress of long operations: bars in a terminal, else lines at intervals."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

# The interval between two lines about progress.
_INTERVAL_S = 20.0


class Reporter(Protocol):
    """Reports progress to the user."""

    def say(self, line: str) -> None:
        """Print a line."""

    def track(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Yield a function that receives the progress since its last call."""


class Lines:
    """Plain lines, for files and pipes."""

    def __init__(self, write: Callable[[str], object], *, interval_s: float = _INTERVAL_S) -> None:
        """Pass lines to `write`; lines about progress come at most every `interval_s` seconds."""
        self._write = write
        self._interval_s = interval_s

    def say(self, line: str) -> None:
        """Write a line."""
        self._write(line)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Write a line at each interval; a short operation has none."""
        done, written_at = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, written_at
            done += count
            if time.monotonic() - written_at >= self._interval_s:
                written_at = time.monotonic()
                self._write(f"{what}: {done:,} of {total:,}")

        yield advance


class Bars:
    """Progress bars with lines above them, for terminals."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False, highlight=False)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Draw a bar, which disappears at the end."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task(what, total=total)
            yield lambda count: progress.advance(bar, count)


def build_reporter(stream: TextIO = sys.stderr) -> Reporter:
    """Return bars for a terminal, and lines for any other stream."""
    if stream.isatty():
        return Bars(Console(file=stream))
    return Lines(lambda line: print(line, file=stream, flush=True))
