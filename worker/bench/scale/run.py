"""Measures replicas, partitions, single settings, and changes of the consumer group.

In the scaling by replicas each replica is pinned to one core and has one thread. The broker uses the same cores.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from worker.bench.frame.runs import Runs
from worker.bench.scale import choices, membership_changes
from worker.bench.stream import phases
from worker.bench.stream.modes import Mode, ModePlan, ModeResults, measure_modes
from worker.errors import BadSettings
from worker.host import list_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from worker.bench.frame.context import BenchContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """The modes, the changes, and the amount of work for each."""

    deliveries: tuple[str, ...]
    replica_counts: tuple[int, ...]
    #: The first is for the scaling by replicas; the others are measured with the most replicas.
    partition_counts: tuple[int, ...]
    work: ModePlan
    #: Changes of the group, of `choices.KINDS`.
    kinds: tuple[str, ...] = choices.KINDS
    #: Protocols of the group, of `choices.PROTOCOLS`.
    protocols: tuple[str, ...] = choices.PROTOCOLS
    #: The minimum durations of a forward pass during the changes, in seconds.
    passes_s: tuple[float, ...] = membership_changes.PASSES_S
    #: Duration of each change.
    step_s: float = 8.0

    def shorten(self) -> ScalePlan:
        """Return the plan for a quick run."""
        work = replace(self.work, num_backlog=min(self.work.num_backlog, 3_000), phase_s=min(self.work.phase_s, 3.0))
        plan = replace(self, deliveries=self.deliveries[:1], partition_counts=self.partition_counts[:1])
        return replace(plan, work=work, kinds=("quiet", "join"), protocols=self.protocols[-1:])


@dataclass(slots=True)
class ScaleResults:
    """All results of one run; the changes have a row each."""

    points: ModeResults
    changes: Runs = field(default_factory=Runs)

    def find_first(self, delivery: str) -> Mode:
        """Return the mode that the others of a delivery are compared with."""
        return next(mode for mode in self.points.modes if mode.delivery == delivery)


async def run(plan: ScalePlan, context: BenchContext) -> ScaleResults:
    """Measure one point after another, then the changes; however this ends, no process remains."""
    available = list_cores()
    modes = [mode for delivery in plan.deliveries for mode in build_modes(plan, delivery, available)]
    results = ScaleResults(await measure_modes(plan.work, context, modes, name="bench-scale"))
    for delivery in plan.deliveries:
        groups = membership_changes.build_group_runs(
            plan.kinds, plan.protocols, delivery, passes_s=plan.passes_s, step_s=plan.step_s
        )
        for number, group in enumerate(groups):
            context.say(f"{group.name(', '.join(group.kinds))} …")
            topic = phases.Topics(
                context.connection, f"bench-scale-{int(time.time())}-{number}", num_partitions=plan.partition_counts[0]
            )
            figures = await membership_changes.measure_group(context, topic, group)
            for kind, found in figures.items():
                results.changes.add(group.name(kind), **found)
            context.say(f"            longest silence {_find_longest_s(figures):.2f} s")
    results.points.notes += _describe_conditions(plan, len(available))
    return results


async def run_sweep(work: ModePlan, context: BenchContext, modes: Sequence[Mode]) -> ScaleResults:
    """Measure the modes of a sweep."""
    return ScaleResults(await measure_modes(work, context, modes, name="bench-sweep"))


def build_sweep(changes: Iterable[str], delivery: str) -> list[Mode]:
    """Return the defaults, a mode for each `SETTING=VALUE[,SETTING=VALUE]`, and the defaults again, which shows the noise.

    `partitions` and `replicas` count as settings. Raises `BadSettings` for text of another form.
    """
    modes = [Mode(name="defaults", delivery=delivery)]
    for change in changes:
        try:
            settings = dict(part.strip().split("=") for part in change.split(","))
            num_replicas, num_partitions = int(settings.pop("replicas", "1")), int(settings.pop("partitions", "8"))
        except ValueError as error:
            raise BadSettings(f"{change}: write SETTING=VALUE, for example max_batch_tokens=2048 or partitions=32") from error
        mode = replace(modes[0], name=change, settings=settings)
        modes.append(replace(mode, num_replicas=num_replicas, num_partitions=num_partitions))
    return [*modes, replace(modes[0], name="defaults again")]


def build_modes(plan: ScalePlan, delivery: str, available: Sequence[int]) -> list[Mode]:
    """Return the modes of a delivery: each number of replicas, then other numbers of partitions with the most replicas."""
    most, first = max(plan.replica_counts), plan.partition_counts[0]
    pairs = [(count, first) for count in plan.replica_counts] + [(most, count) for count in plan.partition_counts[1:]]
    return [
        Mode(
            name=f"{replicas} replica{'s' * (replicas > 1)}, {partitions} partition{'s' * (partitions > 1)}",
            delivery=delivery,
            num_replicas=replicas,
            num_partitions=partitions,
            settings={"threads": 1, "tokenizer_threads": 1},
            cores=[[available[number % len(available)]] for number in range(replicas)],
        )
        for replicas, partitions in pairs
    ]


def _find_longest_s(figures: Mapping[str, Mapping[str, float]]) -> float:
    silences_s = [found[name] for found in figures.values() for name in ("stays_s", "moves_s")]
    return max((silence for silence in silences_s if not math.isnan(silence)), default=math.nan)


def _describe_conditions(plan: ScalePlan, num_cores: int) -> list[str]:
    notes = ["each replica is pinned to one core and has one thread"]
    if plan.kinds:
        notes.append(
            f"the group changes under a steady load of {membership_changes.RATE_PER_S:g} short records per second, with "
            f"{membership_changes.NUM_REPLICAS} replicas, a third that joins with a loaded model, and a session timeout of "
            f"{membership_changes.SESSION_TIMEOUT_MS / 1000:g} s"
        )
    if max(plan.replica_counts) > num_cores:
        notes.append(f"this machine has {num_cores} cores, which more replicas share")
    return notes
