"""More replicas on more cores, other numbers of partitions, and changes of the group under load.

Each replica has one core to itself as far as replicas go: it is held there, with one thread. What is measured at a backlog was
there before the first replica started, so that nobody produces meanwhile; the broker takes its time from the same cores.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.bench.scale import disturbances
from worker.bench.scale.results import Point, ScaleResults
from worker.bench.stream import phases as stream_phases
from worker.bench.stream.phases import Topics
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.usage import Watch
from worker.bench.stream.workers import working
from worker.host import list_cores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.bench.stream.workers import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """How much is measured."""

    deliveries: tuple[str, ...]
    replica_counts: tuple[int, ...]
    #: The first is that of the scaling by replicas; the others are measured with the most replicas.
    partition_counts: tuple[int, ...]
    num_backlog: int
    phase_s: float
    #: What is done to the group, of `disturbances.KINDS`.
    kinds: tuple[str, ...]
    #: How long the load lasts, in which something is done to the group.
    disturbed_s: float
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleMode:
    """One way to run the workers."""

    name: str
    delivery: str
    num_replicas: int
    num_partitions: int
    #: Settings beside the usual ones.
    told: Mapping[str, object]
    #: The cores of each replica; empty: where the scheduler puts it.
    held: Sequence[Sequence[int]] = ()


async def run(plan: ScalePlan, place: Place) -> ScaleResults:
    """Measure everything, one thing after another; whatever ends it, nothing goes on running."""
    there = list_cores()
    results = ScaleResults(machine={"cores": len(there), "corpus_texts": len(place.texts)})
    run_id = f"bench-scale-{int(time.time())}"
    ways = [it for delivery in plan.deliveries for it in _ways(plan, delivery, there)]
    for number, way in enumerate(ways):
        place.say(f"{number + 1:2} of {len(ways):2}    {way.name}, {way.delivery.replace('_', ' ')} …")
        results.points.append(await measured(plan, place, f"{run_id}-{number}", way))
        place.say(f"            {results.points[-1].messages_per_s:.0f} messages/s")
    for delivery in plan.deliveries:
        one = results.scaling(delivery)[0].messages_per_s
        for kind, is_static in disturbances.ways(plan.kinds):
            place.say(f"{kind:11} {'static members, ' * is_static}{delivery.replace('_', ' ')} …")
            topic = Topics(
                place.connection, f"{run_id}-{delivery[0]}-{kind}-{is_static:d}", num_partitions=plan.partition_counts[0]
            )
            load = disturbances.SteadyLoad(rate_per_s=max(1.0, disturbances.SHARE * one), seconds=plan.disturbed_s, seed=plan.seed)
            found = await disturbances.measured(place, topic, kind, load, delivery=delivery, is_static=is_static)
            results.disturbances.append(found)
            place.say(f"            silent for {found.pause_s:.1f} s at most; redone {found.redone}, lost {found.lost}")
    results.notes += _notes(plan, there)
    return results


def _ways(plan: ScalePlan, delivery: str, there: Sequence[int]) -> list[ScaleMode]:
    most, first = max(plan.replica_counts), plan.partition_counts[0]
    pairs = [(num, first) for num in plan.replica_counts] + [(most, num) for num in plan.partition_counts[1:]]
    return [
        ScaleMode(
            name=f"{replicas} replica{'s' * (replicas > 1)}, {partitions} partition{'s' * (partitions > 1)}",
            delivery=delivery,
            num_replicas=replicas,
            num_partitions=partitions,
            told={"threads": 1, "tokenizer_threads": 1},
            held=[[there[number % len(there)]] for number in range(replicas)],
        )
        for replicas, partitions in pairs
    ]


async def measured(plan: ScalePlan, place: Place, name: str, way: ScaleMode) -> Point:
    """Let the workers of a way empty a backlog, then offer them half of what they can do."""
    topic = Topics(place.connection, name, num_partitions=way.num_partitions)
    await topic.create()
    values = [stream_phases.request(place.texts[n % len(place.texts)], n) for n in range(plan.num_backlog)]
    told = {"delivery": way.delivery, **way.told}
    async with contextlib.AsyncExitStack() as running:
        async with stream_phases.backlog(topic, values):
            workers, _ = await running.enter_async_context(working(place, topic, told, num_workers=way.num_replicas, held=way.held))
            async with Watch(it.process.pid for it in workers) as idle:
                pass
        async with Watch(it.process.pid for it in workers) as busy:
            await stream_phases.answered(topic, workers)
        per_s = steady_per_s([it.done_ms for it in await topic.read_all()])
        load = await stream_phases.offer(
            topic, workers, values, rate_per_s=max(1.0, per_s / 2), share=0.5, phase_s=plan.phase_s, seed=plan.seed
        )
    return Point(
        name=way.name,
        delivery=way.delivery,
        num_replicas=way.num_replicas,
        num_partitions=way.num_partitions,
        messages_per_s=per_s,
        latency=load.latency,
        idle_mib=idle.usage.rss_mib / way.num_replicas,
        peak_mib=busy.usage.peak_rss_mib / way.num_replicas,
        lost=topic.tally.account.num_missing,
        repeated=topic.tally.account.num_duplicates // stream_phases.NUM_OUTPUTS,
    )


def _notes(plan: ScalePlan, there: Sequence[int]) -> list[str]:
    backlog = (
        f"each replica is held to one core, with one thread; {plan.num_backlog:,} messages a backlog, which nobody produces or "
        "reads meanwhile; the broker, and under a load its sender, take their time from the same cores"
    )
    changes = (
        f"changes of the group under {disturbances.SHARE:.0%} of what one replica does, {disturbances.NUM_REPLICAS} replicas and a "
        f"session timeout of {disturbances.SESSION_TIMEOUT_MS / 1000:g} s"
    )
    notes = [backlog, changes] if plan.kinds else [backlog]
    if max(plan.replica_counts) > len(there):
        notes.append(f"there are {len(there)} cores: more replicas than that share them, and the law is fitted to those too")
    return notes
