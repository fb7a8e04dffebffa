"""Runs a benchmark on the configured brokers or on an embedded one."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from worker.bench.frame.context import BenchContext
from worker.commands.bench.flags import build_console
from worker.composition.broker import build_connection
from worker.errors import BadSettings
from worker.settings import read
from worker.testbed.worker_process import run_kafka
from worker.training.data.corpora import rated_sentences

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from worker.bench.frame.report import Report, ReportOutputs
    from worker.settings import Settings

_Results = TypeVar("_Results")
#: The exit code after SIGTERM, as a shell reports it.
EXIT_CODE_OF_SIGTERM = 128 + signal.SIGTERM
_DATA = Path(".data")
# What the workers and the engine without a broker have in common.
_SETTINGS = (
    "model", "device", "dtype", "backend", "max_seq_length", "max_batch_tokens", "max_batch_records", "max_batch_delay_ms",
    "resume_in_flight_tokens", "max_poll_records",
)  # fmt: skip
_PACKAGES = ("psutil", "matplotlib", "sentence_transformers")


def check_packages() -> None:
    """Raise `BadSettings` if a package of the `bench` extra is missing."""
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise BadSettings(f"the benchmark needs {', '.join(missing)}: pip install 'gist-stream[bench]'")


def run_benchmark(
    measure: Callable[[BenchContext], Awaitable[_Results]], build_report: Callable[[_Results], Report], outputs: ReportOutputs
) -> int:
    """Measure and write the report; return 0 if it is good, 1 if records were lost or repeated, 143 after SIGTERM."""
    progress, started_s = Console(highlight=False, stderr=True), time.monotonic()
    try:
        report = build_report(run_with_kafka(progress, measure))
    except asyncio.CancelledError:
        progress.print("ended by SIGTERM")
        return EXIT_CODE_OF_SIGTERM
    progress.print(f"measured in {time.monotonic() - started_s:.0f} s")
    outputs.write(report, build_console())
    return int(not report.is_good)


def run_with_kafka(console: Console, measure: Callable[[BenchContext], Awaitable[_Results]]) -> _Results:
    """Return the results of a benchmark; however it ends, no process remains."""
    with (
        tempfile.TemporaryDirectory(prefix="gist-stream-bench-") as directory,
        run_kafka(console.print) as (bootstrap_servers, pid),
    ):
        settings = read({"bootstrap_servers": bootstrap_servers})
        return asyncio.run(_run(measure, _build_context(console, settings, pid, Path(directory))))


def _build_context(console: Console, settings: Settings, broker_pid: int | None, directory: Path) -> BenchContext:
    sentences = [sentence.text for sentence in rated_sentences(_DATA)]
    console.print(f"texts       {len(sentences)} sentences of reviews, posts and newspapers")
    return BenchContext(
        connection=build_connection(settings),
        broker_pid=broker_pid,
        directory=directory,
        # The stride visits each sentence once and alternates between the sections of the corpus.
        texts=[sentences[number * 7919 % len(sentences)] for number in range(len(sentences))],
        settings={name: getattr(settings, name) for name in _SETTINGS},
        say=console.print,
    )


async def _run(measure: Callable[[BenchContext], Awaitable[_Results]], context: BenchContext) -> _Results:
    """Measure; SIGTERM cancels, as Ctrl-C does."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await measure(context)
