"""Measure how far more replicas go, and what each knob does; `worker.bench.scale` says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.commands.bench.stream import DELIVERIES
from worker.commands.bench.with_broker import ENDED, benchmark, check_extra
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.scale.results import ScaleResults
    from worker.bench.scale.run import ScalePlan
    from worker.bench.stream.workers import Place


def bench_scale(
    *,
    deliveries: tuple[str, ...],
    replica_counts: tuple[int, ...],
    partition_counts: tuple[int, ...],
    count: int,
    phase_s: float,
    is_quick: bool,
    json_file: Path | None,
    plot_file: Path | None,
) -> int:
    """Measure, print, and return 0 only if nothing was lost, and nothing repeated by exactly once."""
    check_extra()
    if unknown := set(deliveries) - set(DELIVERIES):
        raise BadSettings(f"there is no delivery {', '.join(sorted(unknown))}; there is {', '.join(DELIVERIES)}")
    # Heavy, and there only with the extra that was checked.
    from worker.bench.scale import report  # noqa: PLC0415
    from worker.bench.scale import run as scale_run  # noqa: PLC0415
    from worker.bench.scale.disturbances import KINDS  # noqa: PLC0415

    plan = scale_run.ScalePlan(
        deliveries=deliveries or (DELIVERIES[:1] if is_quick else DELIVERIES),
        replica_counts=replica_counts,
        partition_counts=partition_counts[:1] if is_quick else partition_counts,
        num_backlog=min(count, 3_000) if is_quick else count,
        phase_s=min(phase_s, 3.0) if is_quick else phase_s,
        kinds=("kill",) if is_quick else KINDS,
        disturbed_s=20.0 if is_quick else 60.0,
    )
    return _code(benchmark(lambda place: scale_run.run(plan, place), report, json_file=json_file, plot_file=plot_file))


def bench_knobs(*, delivery: str, count: int, phase_s: float, is_quick: bool, json_file: Path | None, table: Path | None) -> int:
    """Turn each knob, print, write the table, and return 0 only if nothing was lost."""
    check_extra()
    from worker.bench.scale import knobs, report  # noqa: PLC0415  heavy, and there only with the extra that was checked

    plan = _knobs_plan(delivery, count, phase_s, is_quick=is_quick)

    async def turned(place: Place) -> ScaleResults:
        return await knobs.run(plan, place, is_quick=is_quick)

    results = benchmark(turned, report, json_file=json_file, plot_file=None)
    if results is not None and table is not None:
        table.write_text(knobs.markdown(results))
    return _code(results)


def _knobs_plan(delivery: str, count: int, phase_s: float, *, is_quick: bool) -> ScalePlan:
    from worker.bench.scale.run import ScalePlan  # noqa: PLC0415  heavy

    if delivery not in DELIVERIES:
        raise BadSettings(f"there is no delivery {delivery}; there is {', '.join(DELIVERIES)}")
    return ScalePlan(
        deliveries=(delivery,),
        replica_counts=(1,),
        partition_counts=(1,),
        num_backlog=min(count, 3_000) if is_quick else count,
        phase_s=min(phase_s, 3.0) if is_quick else phase_s,
        kinds=(),
        disturbed_s=0.0,
    )


def _code(results: ScaleResults | None) -> int:
    return ENDED if results is None else int(results.lost > 0 or results.repeated_exactly_once > 0)
