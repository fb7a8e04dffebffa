"""Measure what a backfill costs the live topic; `worker.bench.lanes.run` says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.commands.bench.with_broker import ENDED, benchmark, check_extra
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.lanes.results import LanesResults
    from worker.bench.stream.workers import Place

# From here on the live lane alone fills the machine.
_MAX_PERCENT = 90


def bench_lanes(
    *,
    percents: tuple[int, ...],
    max_backfill_batch_tokens: int,
    num_partitions: int,
    num_rounds: int,
    count: int,
    phase_s: float,
    json_file: Path | None,
    plot_file: Path | None,
) -> int:
    """Measure, print, and return 0 only if nothing was lost."""
    check_extra()
    if max(percents) > _MAX_PERCENT:
        raise BadSettings(f"--loads {','.join(map(str, percents))}: at most {_MAX_PERCENT}, or nothing is left for a backfill")
    from worker.bench.lanes import report  # noqa: PLC0415  heavy, and there only with the extra that was checked
    from worker.bench.lanes import run as lanes_run  # noqa: PLC0415  the same

    plan = lanes_run.LanesPlan(
        num_partitions=num_partitions,
        num_backlog=count,
        shares=tuple(it / 100 for it in percents),
        num_rounds=num_rounds,
        phase_s=phase_s,
        max_backfill_batch_tokens=max_backfill_batch_tokens,
    )

    async def noted(place: Place) -> LanesResults:
        return await lanes_run.run(plan, place)

    results = benchmark(noted, report, json_file=json_file, plot_file=plot_file)
    return ENDED if results is None else int(results.lost > 0)
