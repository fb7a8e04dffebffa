"""Measures exactly-once delivery against at-least-once delivery.

Each exactly-once run is adjacent to at-least-once runs with the same number of partitions and is compared with these alone: the
speed of a shared machine changes within minutes. The offered load is the same for all runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from worker.bench.stream.modes import Mode, ModePlan, ModeResults, measure_modes

if TYPE_CHECKING:
    from worker.bench.frame.context import BenchContext

#: The defaults of the settings, which the claim of the report describes.
MAIN_PARTITIONS, MAIN_INTERVAL_MS = 8, 100
# With --quick no run begins that would end later.
_QUICK_LIMIT_S = 95.0


def build_mode(num_partitions: int, interval_ms: int | None = None) -> Mode:
    """Return exactly-once delivery with a transaction interval, or at-least-once delivery."""
    name = f"{num_partitions} partition{'s' * (num_partitions > 1)}"
    if interval_ms is None:
        return Mode(name=name, delivery="at_least_once", num_partitions=num_partitions)
    settings = {"transaction_interval_ms": interval_ms}
    return Mode(name=f"{name}, {interval_ms} ms", delivery="exactly_once", num_partitions=num_partitions, settings=settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """The modes, and the amount of work for each."""

    #: The main mode has other runs with another interval or another number of partitions.
    intervals_ms: tuple[int, ...]
    partition_counts: tuple[int, ...]
    #: Runs of the main mode, in turn with at-least-once.
    num_rounds: int
    work: ModePlan

    def shorten(self) -> DeliveryPlan:
        """Return the plan for a quick run, which ends within two minutes."""
        backlog, phase_s = min(self.work.num_backlog, 4_000), min(self.work.phase_s, 4.0)
        work = replace(self.work, num_backlog=backlog, phase_s=phase_s, limit_s=_QUICK_LIMIT_S)
        return DeliveryPlan(intervals_ms=(10, 100), partition_counts=(8, 32), num_rounds=1, work=work)


def build_modes(plan: DeliveryPlan) -> list[Mode]:
    """Return the modes in the order of the runs: at-least-once is adjacent to each exactly-once run."""
    reference = build_mode(MAIN_PARTITIONS)
    modes = [reference, *(build_mode(MAIN_PARTITIONS, MAIN_INTERVAL_MS), reference) * plan.num_rounds]
    others = [build_mode(MAIN_PARTITIONS, interval) for interval in plan.intervals_ms if interval != MAIN_INTERVAL_MS]
    for first in range(0, len(others), 2):
        modes += [*others[first : first + 2], reference]
    for count in plan.partition_counts:
        if count != MAIN_PARTITIONS:
            modes += [build_mode(count), build_mode(count, MAIN_INTERVAL_MS)]
    return modes


async def run(plan: DeliveryPlan, context: BenchContext) -> ModeResults:
    """Measure all modes; latency ends at a reader of committed records."""
    work = replace(plan.work, is_load_fixed=True, is_read=True)
    return await measure_modes(work, context, build_modes(plan), name="bench-delivery")
