"""Measures replicas, partitions, single settings, and changes of the consumer group.

In the scaling by replicas each replica is pinned to one core and has one thread. A backlog is complete before the first replica
starts, so that nothing is produced during the measurement; the broker uses the same cores.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from worker.bench.frame.machine import describe_machine
from worker.bench.scale import membership_changes
from worker.bench.scale.results import Point, ScaleResults
from worker.bench.stream import phases
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.usage import Watch
from worker.bench.stream.workers import run_workers
from worker.errors import BadSettings
from worker.host import list_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from worker.bench.frame.context import BenchContext

_PARTITIONS, _REPLICAS = "partitions", "replicas"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """The amount of work."""

    deliveries: tuple[str, ...]
    replica_counts: tuple[int, ...] = (1,)
    #: The first is for the scaling by replicas; the others are measured with the most replicas.
    partition_counts: tuple[int, ...] = (8,)
    num_backlog: int
    phase_s: float
    #: Changes of the group, of `membership_changes.KINDS`.
    kinds: tuple[str, ...] = membership_changes.KINDS
    #: Duration of the load in which the group changes.
    change_s: float = 60.0
    seed: int = 0

    def shorten(self) -> ScalePlan:
        """Return the plan for a quick run."""
        return replace(
            self,
            deliveries=self.deliveries[:1],
            partition_counts=self.partition_counts[:1],
            num_backlog=min(self.num_backlog, 3_000),
            phase_s=min(self.phase_s, 3.0),
            kinds=("kill",),
            change_s=20.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleMode:
    """Workers with certain settings."""

    name: str
    delivery: str
    num_replicas: int = 1
    num_partitions: int = 8
    #: Settings that differ from the defaults.
    settings: Mapping[str, object] = field(default_factory=dict)
    #: The cores of each replica; empty: unpinned.
    cores: Sequence[Sequence[int]] = ()


async def run(plan: ScalePlan, context: BenchContext) -> ScaleResults:
    """Measure one point after another, then the changes; however this ends, no process remains."""
    available = list_cores()
    modes = [mode for delivery in plan.deliveries for mode in _build_modes(plan, delivery, available)]
    results = await measure_modes(plan, context, modes)
    for delivery in plan.deliveries:
        one_per_s = results.points_by_replicas(delivery)[0].messages_per_s
        for kind, is_static in membership_changes.build_changes(plan.kinds):
            context.say(f"{kind:11} {'static members, ' * is_static}{delivery.replace('_', ' ')} …")
            name = f"bench-scale-{int(time.time())}-{delivery[0]}-{kind}-{is_static:d}"
            topic = phases.Topics(context.connection, name, num_partitions=plan.partition_counts[0])
            rate_per_s = max(1.0, membership_changes.SHARE * one_per_s)
            load = membership_changes.SteadyLoad(rate_per_s=rate_per_s, seconds=plan.change_s, seed=plan.seed)
            change = await membership_changes.measure_change(context, topic, kind, load, delivery=delivery, is_static=is_static)
            results.changes.append(change)
            context.say(f"            longest pause {change.pause_s:.1f} s; redone {change.redone}, lost {change.lost}")
    results.notes += _describe_conditions(plan, len(available))
    return results


def build_sweep(changes: Iterable[str], delivery: str) -> list[ScaleMode]:
    """Return the defaults, a mode for each `SETTING=VALUE[,SETTING=VALUE]`, and the defaults again, which shows the noise.

    `partitions` and `replicas` count as settings. Raises `BadSettings` for text of another form.
    """
    modes = [ScaleMode(name="defaults", delivery=delivery)]
    for change in changes:
        try:
            settings = dict(part.strip().split("=") for part in change.split(","))
            num_replicas, num_partitions = int(settings.pop(_REPLICAS, "1")), int(settings.pop(_PARTITIONS, "8"))
        except ValueError as error:
            raise BadSettings(f"{change}: write SETTING=VALUE, for example max_batch_tokens=2048 or partitions=32") from error
        modes.append(
            ScaleMode(name=change, delivery=delivery, num_replicas=num_replicas, num_partitions=num_partitions, settings=settings)
        )
    return [*modes, replace(modes[0], name="defaults again")]


async def measure_modes(plan: ScalePlan, context: BenchContext, modes: Sequence[ScaleMode]) -> ScaleResults:
    """Measure the point of each mode."""
    results = ScaleResults(machine=describe_machine() | {"corpus_texts": len(context.texts)})
    run_id = f"bench-scale-{int(time.time())}"
    for number, mode in enumerate(modes):
        context.say(f"{number + 1:2} of {len(modes):2}    {mode.name}, {mode.delivery.replace('_', ' ')} …")
        results.points.append(await _measure_point(plan, context, f"{run_id}-{number}", mode))
        context.say(f"            {results.points[-1].messages_per_s:.0f} records/s")
    return results


def _build_modes(plan: ScalePlan, delivery: str, available: Sequence[int]) -> list[ScaleMode]:
    most, first = max(plan.replica_counts), plan.partition_counts[0]
    pairs = [(count, first) for count in plan.replica_counts] + [(most, count) for count in plan.partition_counts[1:]]
    return [
        ScaleMode(
            name=f"{replicas} replica{'s' * (replicas > 1)}, {partitions} partition{'s' * (partitions > 1)}",
            delivery=delivery,
            num_replicas=replicas,
            num_partitions=partitions,
            settings={"threads": 1, "tokenizer_threads": 1},
            cores=[[available[number % len(available)]] for number in range(replicas)],
        )
        for replicas, partitions in pairs
    ]


async def _measure_point(plan: ScalePlan, context: BenchContext, name: str, mode: ScaleMode) -> Point:
    """Let the workers process a backlog, then offer half of their throughput."""
    topic = phases.Topics(context.connection, name, num_partitions=mode.num_partitions)
    await topic.create()
    values = phases.build_requests(context, plan.num_backlog)
    settings = {"delivery": mode.delivery, **mode.settings}
    async with contextlib.AsyncExitStack() as stack:
        async with phases.backlog(topic, values):
            starting = run_workers(context, topic, settings, num_workers=mode.num_replicas, cores=mode.cores)
            workers, _ = await stack.enter_async_context(starting)
            async with Watch(worker.process.pid for worker in workers) as idle:
                pass
        async with Watch(worker.process.pid for worker in workers) as busy:
            await phases.wait_until_published(topic, workers)
        per_s = steady_per_s([answer.done_ms for answer in await topic.read_all()])
        load = await phases.offer_load(
            topic, workers, values, rate_per_s=max(1.0, per_s / 2), share=0.5, phase_s=plan.phase_s, seed=plan.seed
        )
    return Point(
        name=mode.name,
        delivery=mode.delivery,
        num_replicas=mode.num_replicas,
        num_partitions=mode.num_partitions,
        messages_per_s=per_s,
        latency=load.latency,
        idle_mib=idle.usage.rss_mib / mode.num_replicas,
        peak_mib=busy.usage.peak_rss_mib / mode.num_replicas,
        lost=topic.tally.audit.num_missing,
        repeated=topic.tally.audit.num_duplicates // phases.NUM_OUTPUTS,
    )


def _describe_conditions(plan: ScalePlan, num_cores: int) -> list[str]:
    notes = [
        f"each replica is pinned to one core and has one thread; {plan.num_backlog:,} records per backlog",
        "during a backlog nothing is produced or consumed; the broker and the sender of a load use the same cores",
    ]
    if plan.kinds:
        notes.append(
            f"the group changes at {membership_changes.SHARE:.0%} of the throughput of one replica, with "
            f"{membership_changes.NUM_REPLICAS} replicas and a session timeout of {membership_changes.SESSION_TIMEOUT_MS} ms"
        )
    if max(plan.replica_counts) > num_cores:
        notes.append(f"this machine has {num_cores} cores, which more replicas share")
    return notes
