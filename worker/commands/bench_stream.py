"""Measure the worker with the broker in the loop; `worker.bench.stream.run` says how."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from rich.console import Console

from worker.commands.run import connection_of
from worker.commands.worker_process import kafka
from worker.errors import BadSettings
from worker.settings import Settings, read
from worker.training.corpora import rated_sentences

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from worker.bench.stream.run import Plan
    from worker.bench.stream.workers import Place

_Results = TypeVar("_Results")
_DATA = Path(".data")
# Columns of the tables where no terminal says how many there are.
_WIDTH = 132
_NEEDED = ("psutil", "matplotlib", "sentence_transformers")
#: Every way of delivery that the worker knows.
DELIVERIES: tuple[str, ...] = get_args(Settings.model_fields["delivery"].annotation)


def bench_stream(
    *,
    deliveries: tuple[str, ...],
    worker_counts: tuple[int, ...],
    num_partitions: int,
    count: int,
    phase_s: float,
    is_quick: bool,
    json_file: Path | None,
    plot_file: Path | None,
) -> int:
    """Measure, print, and return 0 only if nothing was lost."""
    check_extra()
    if unknown := set(deliveries) - set(DELIVERIES):
        raise BadSettings(f"there is no delivery {', '.join(sorted(unknown))}; there is {', '.join(DELIVERIES)}")
    # Heavy, and there only with the extra that was checked.
    from worker.bench.stream import report as stream_report  # noqa: PLC0415
    from worker.bench.stream.run import run  # noqa: PLC0415

    plan = _plan(count, phase_s, is_quick=is_quick)
    plan = replace(plan, deliveries=deliveries or DELIVERIES, worker_counts=worker_counts, num_partitions=num_partitions)
    console, began_s = console_of(), time.monotonic()
    try:
        results = measured(console, lambda place: run(plan, place))
    except asyncio.CancelledError:
        console.print("ended by SIGTERM")
        return 128 + signal.SIGTERM
    if is_quick:
        results.notes.append(
            f"quick: a backlog of {plan.num_backlog} messages, {plan.phase_s:g} s a load, {plan.num_single} single messages, "
            "and the engine only before the stream, not after it too"
        )
    stream_report.show(console, results)
    console.print(f"measured in {time.monotonic() - began_s:.0f} s")
    if json_file is not None:
        json_file.write_bytes(stream_report.as_json(results))
    if plot_file is not None:
        stream_report.plot(results, plot_file)
    return 1 if results.lost else 0


def _plan(count: int, phase_s: float, *, is_quick: bool) -> Plan:
    """Return how much is measured of one way to run the workers."""
    from worker.bench.stream.run import Plan  # noqa: PLC0415  heavy

    return Plan(
        num_backlog=min(count, 4_000) if is_quick else count,
        num_engine_texts=min(count, 4_000) if is_quick else count,
        num_engine_runs=1 if is_quick else 2,
        num_peer_messages=min(count, 3_072) if is_quick else min(count, 8_192),
        limit_s=8.0 if is_quick else 40.0,
        phase_s=min(phase_s, 5.0) if is_quick else phase_s,
        num_single=50 if is_quick else 100,
    )


def counts_of(given: str, *, flag: str = "--workers") -> tuple[int, ...]:
    """Return the numbers of a comma-separated list; raises `BadSettings` where one is none."""
    counts = tuple(int(it) for it in given.replace(" ", "").split(",") if it.isdecimal() and int(it))
    if not counts or len(counts) != len(given.split(",")):
        raise BadSettings(f"{flag} {given}: give whole numbers from 1, comma-separated")
    return counts


def check_extra() -> None:
    """Raise `BadSettings` where the packages that a benchmark of the stream needs are not installed."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise BadSettings(f"the benchmark needs {', '.join(missing)}: pip install 'gist-stream[bench]'")


def console_of() -> Console:
    """Return where to print, wide enough for the tables also where no terminal says how wide it is."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


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
        connection=connection_of(settings),
        broker_pid=broker_pid,
        directory=directory,
        # With a stride that meets every sentence once and steps through all sections of the corpus.
        texts=[sentences[number * 7919 % len(sentences)] for number in range(len(sentences))],
        engine={
            "reference": settings.model,
            "device": settings.device,
            "dtype": settings.dtype,
            "backend": settings.backend,
            "max_tokens": settings.max_text_tokens or None,
        },
        worker={name: getattr(settings, name) for name in ("model", "device", "dtype", "backend", "max_text_tokens")},
        batch_tokens=settings.batch_tokens,
        batch_records=settings.batch_records,
        max_wait_ms=settings.max_wait_ms,
        say=console.print,
    )


async def _run(run: Callable[[Place], Awaitable[_Results]], place: Place) -> _Results:
    """Run, and take SIGTERM as Ctrl-C: either way what was started is ended first."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(place)
