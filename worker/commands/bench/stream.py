"""Measure the worker with the broker in the loop; `worker.bench.stream.run` says how."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from worker.commands.bench.with_broker import ENDED, benchmark, check_extra
from worker.errors import BadSettings
from worker.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.stream.results import StreamResults
    from worker.bench.stream.run import StreamPlan
    from worker.bench.stream.workers import Place

#: Every way of delivery that the worker knows.
DELIVERIES: tuple[str, ...] = get_args(Settings.model_fields["delivery"].annotation)

# Parts of a backlog, between which the engine runs.
_NUM_ROUNDS = 3


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
    from worker.bench.stream import report  # noqa: PLC0415
    from worker.bench.stream import run as stream_run  # noqa: PLC0415

    plan = _plan(count, phase_s, is_quick=is_quick)
    plan = replace(plan, deliveries=deliveries or DELIVERIES, worker_counts=worker_counts, num_partitions=num_partitions)

    async def noted(place: Place) -> StreamResults:
        results = await stream_run.run(plan, place)
        if is_quick:
            results.notes.append(
                f"quick: a backlog of at most {plan.num_backlog} messages, {plan.phase_s:g} s a load for the first way alone, "
                f"{plan.num_single} single messages, the engine before the stream alone, smaller batches for the peer"
            )
        return results

    results = benchmark(noted, report, json_file=json_file, plot_file=plot_file)
    return ENDED if results is None else int(results.lost > 0)


def _plan(count: int, phase_s: float, *, is_quick: bool) -> StreamPlan:
    """Return how much is measured of one way to run the workers."""
    from worker.bench.stream.run import StreamPlan  # noqa: PLC0415  heavy

    return StreamPlan(
        num_backlog=min(count, 4_000) if is_quick else count,
        backlog_s=5.0 if is_quick else 0.0,
        num_engine_texts=min(count, 4_000) if is_quick else -(-count // _NUM_ROUNDS),
        num_rounds=1 if is_quick else _NUM_ROUNDS,
        num_peer_messages=min(count, 1_024) if is_quick else min(count, 8_192),
        num_peer_batch=256 if is_quick else 1024,
        limit_s=8.0 if is_quick else 40.0,
        phase_s=min(phase_s, 5.0) if is_quick else phase_s,
        offers_all=not is_quick,
        num_single=30 if is_quick else 100,
    )
