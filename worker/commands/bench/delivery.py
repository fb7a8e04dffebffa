"""Measure what exactly once costs, beside at least once; `worker.bench.delivery.run` says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.commands.bench.with_broker import ENDED, benchmark, check_extra

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
    from worker.bench.delivery import run as delivery_run  # noqa: PLC0415
    from worker.bench.delivery.results import DeliveryMode  # noqa: PLC0415

    plan = delivery_run.DeliveryPlan(
        main=DeliveryMode(_NUM_PARTITIONS, _INTERVAL_MS),
        intervals_ms=_QUICK_INTERVALS_MS if is_quick else intervals_ms,
        partition_counts=_QUICK_PARTITIONS if is_quick else partition_counts,
        num_rounds=1 if is_quick else num_rounds,
        num_backlog=min(count, 4_000) if is_quick else count,
        phase_s=min(phase_s, 4.0) if is_quick else phase_s,
        limit_s=_QUICK_LIMIT_S if is_quick else 0.0,
    )
    results = benchmark(lambda place: delivery_run.run(plan, place), report, json_file=json_file, plot_file=plot_file)
    return ENDED if results is None else int(results.lost > 0 or results.duplicated("exactly_once") > 0)
