"""Measure what exactly once costs, beside at least once; `worker.bench.delivery.run` says how."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from worker.commands.bench_stream import check_extra, console_of, measured

if TYPE_CHECKING:
    from pathlib import Path

# What is judged: the setting's default, and the partitions of the other benchmark of the stream.
_NUM_PARTITIONS, _INTERVAL_MS = 8, 100
# With --quick no run begins that would end later; what starts and ends around the runs takes seconds.
_QUICK_LIMIT_S = 95.0
_QUICK_INTERVALS_MS, _QUICK_PARTITIONS = (10, 100), (8, 32)


def bench_delivery(
    *,
    intervals_ms: tuple[int, ...],
    partition_counts: tuple[int, ...],
    num_rounds: int,
    count: int,
    phase_s: float,
    is_quick: bool,
    json_file: Path | None,
    plot_file: Path | None,
) -> int:
    """Measure, print, and return 0 only if nothing was lost, and nothing repeated by exactly once."""
    check_extra()
    # Heavy, and there only with the extra that was checked.
    from worker.bench.delivery import report  # noqa: PLC0415
    from worker.bench.delivery.results import Way  # noqa: PLC0415
    from worker.bench.delivery.run import Plan, run  # noqa: PLC0415

    plan = Plan(
        main=Way(_NUM_PARTITIONS, _INTERVAL_MS),
        intervals_ms=_QUICK_INTERVALS_MS if is_quick else intervals_ms,
        partition_counts=_QUICK_PARTITIONS if is_quick else partition_counts,
        num_rounds=1 if is_quick else num_rounds,
        num_backlog=min(count, 4_000) if is_quick else count,
        phase_s=min(phase_s, 4.0) if is_quick else phase_s,
        limit_s=_QUICK_LIMIT_S if is_quick else 0.0,
    )
    console, began_s = console_of(), time.monotonic()
    try:
        results = measured(console, lambda place: run(plan, place))
    except asyncio.CancelledError:
        console.print("ended by SIGTERM")
        return 128 + signal.SIGTERM
    report.show(console, results)
    console.print(f"measured in {time.monotonic() - began_s:.0f} s")
    if json_file is not None:
        json_file.write_bytes(report.as_json(results))
    if plot_file is not None:
        report.plot(results, plot_file)
    return 1 if results.lost or results.duplicated("exactly_once") else 0
