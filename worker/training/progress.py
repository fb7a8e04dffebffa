"""What a person sees of what takes long: bars in a terminal, else a line now and then."""

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

# How often a line says how far something is.
_INTERVAL_S = 20.0


class Reporter(Protocol):
    """Says what happens."""

    def say(self, line: str) -> None:
        """Say one line."""

    def track(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Give what is called with how much was done since the last call."""


class Lines:
    """Plain lines: for files and pipes."""

    def __init__(self, write: Callable[[str], object], *, interval_s: float = _INTERVAL_S) -> None:
        """Write each line by `write`, without a line's end; at most one in so many seconds says how far something is."""
        self._write = write
        self._interval_s = interval_s

    def say(self, line: str) -> None:
        """Write it."""
        self._write(line)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Write a line now and then; none of what is done soon."""
        done, told_at = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, told_at
            done += count
            if time.monotonic() - told_at >= self._interval_s:
                told_at = time.monotonic()
                self._write(f"{what}: {done:,} of {total:,}")

        yield advance


class Bars:
    """Bars that move, and lines above them: for terminals."""

    def __init__(self, console: Console) -> None:
        """Draw on a console."""
        self._console = console

    def say(self, line: str) -> None:
        """Print it above the bar."""
        self._console.print(line, markup=False, highlight=False)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Draw a bar that is gone when it is full."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            bar = progress.add_task(what, total=total)
            yield lambda count: progress.advance(bar, count)


def build_reporter(stream: TextIO = sys.stderr) -> Reporter:
    """Return what suits a stream."""
    if stream.isatty():
        return Bars(Console(file=stream))
    return Lines(lambda line: print(line, file=stream, flush=True))
