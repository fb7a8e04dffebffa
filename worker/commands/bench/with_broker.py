"""What the benchmarks with the broker in the loop have in common: where they run, and how their results are shown and kept."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.console import Console

from worker.composition.broker import build_connection
from worker.errors import BadSettings
from worker.settings import read
from worker.testbed.worker_process import kafka
from worker.training.data.corpora import rated_sentences

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from worker.bench.stream.workers import Place
    from worker.settings import Settings

_Results = TypeVar("_Results")
_Shown_contra = TypeVar("_Shown_contra", contravariant=True)
#: The exit code of a benchmark that was ended by SIGTERM, as the shell counts it.
ENDED = 128 + signal.SIGTERM
_DATA = Path(".data")
# Columns of the tables where no terminal says how many there are.
_WIDTH = 132
_NEEDED = ("psutil", "matplotlib", "sentence_transformers")


class ReportCommand(Protocol[_Shown_contra]):
    """The module that tells what a benchmark brought."""

    def show(self, console: Console, results: _Shown_contra, /) -> None:
        """Print it for people."""

    def as_json(self, results: _Shown_contra, /) -> bytes:
        """Return it for programs."""

    def plot(self, results: _Shown_contra, path: Path, /) -> None:
        """Draw it."""


def check_extra() -> None:
    """Raise `BadSettings` where the packages that a benchmark of the stream needs are not installed."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise BadSettings(f"the benchmark needs {', '.join(missing)}: pip install 'gist-stream[bench]'")


def parse_counts(given: str, *, flag: str) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list; raises `BadSettings` where one is none."""
    counts = tuple(int(it) for it in given.replace(" ", "").split(",") if it.isdecimal() and int(it))
    if not counts or len(counts) != len(given.split(",")):
        raise BadSettings(f"{flag} {given}: give whole numbers from 1, comma-separated")
    return counts


def benchmark(
    run: Callable[[Place], Awaitable[_Results]], report: ReportCommand[_Results], *, json_file: Path | None, plot_file: Path | None
) -> _Results | None:
    """Run a benchmark, show and keep what it brought, and return that; None where it was ended before."""
    console, began_s = Console(highlight=False), time.monotonic()
    if not console.is_terminal:
        console.width = _WIDTH
    try:
        results = measured(console, run)
    except asyncio.CancelledError:
        console.print("ended by SIGTERM")
        return None
    report.show(console, results)
    console.print(f"measured in {time.monotonic() - began_s:.0f} s")
    if json_file is not None:
        json_file.write_bytes(report.as_json(results))
    if plot_file is not None:
        report.plot(results, plot_file)
    return results


def measured(console: Console, run: Callable[[Place], Awaitable[_Results]]) -> _Results:
    """Run a benchmark on the brokers that are given, or on an embedded one, and end everything with it."""
    with (
        tempfile.TemporaryDirectory(prefix="gist-stream-bench-") as directory,
        kafka(console.print) as (bootstrap_servers, pid),
    ):
        settings = read({"bootstrap_servers": bootstrap_servers})
        return asyncio.run(_run(run, _place(console, settings, pid, Path(directory))))


def _place(console: Console, settings: Settings, broker_pid: int | None, directory: Path) -> Place:
    from worker.bench.stream.workers import Place  # noqa: PLC0415  heavy

    sentences = [it.text for it in rated_sentences(_DATA)]
    console.print(f"texts       {len(sentences)} sentences of reviews, posts and newspapers")
    return Place(
        connection=build_connection(settings),
        broker_pid=broker_pid,
        directory=directory,
        # With a stride that meets every sentence once and steps through all sections of the corpus.
        texts=[sentences[number * 7919 % len(sentences)] for number in range(len(sentences))],
        engine={
            "reference": settings.model,
            "device": settings.device,
            "dtype": settings.dtype,
            "backend": settings.backend,
            "max_tokens": settings.max_seq_length or None,
        },
        worker={name: getattr(settings, name) for name in ("model", "device", "dtype", "backend", "max_seq_length")},
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_records=settings.max_batch_records,
        max_batch_delay_ms=settings.max_batch_delay_ms,
        say=console.print,
    )


async def _run(run: Callable[[Place], Awaitable[_Results]], place: Place) -> _Results:
    """Run, and take SIGTERM as Ctrl-C: either way what was started is ended first."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(place)
