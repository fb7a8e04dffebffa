"""What exactly once costs: a worker that publishes in transactions beside one that publishes at least once, in turn.

Every exactly-once run stands beside an at-least-once run with as many partitions, and is compared with that one alone, because a
shared machine changes its speed from minute to minute. Each run is a worker process and topics of its own: a backlog that it
empties undisturbed, then a load that does not wait for it, the same for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from worker.bench.delivery.results import DeliveryMode, DeliveryResults, DeliveryRun, Work
from worker.bench.stream import phases as stream_phases
from worker.bench.stream.offered import latency
from worker.bench.stream.phases import SETTLING_S, Topics
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.usage import Watch
from worker.bench.stream.workers import working
from worker.broker.tools import clients
from worker.host import count_cores
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from worker.bench.stream.workers import Place
    from worker.testbed.worker_process import WorkerProcess

_T = TypeVar("_T")
_NUM_PUBLICATIONS, _PUBLISHING_S = (f'gist_stage_duration_seconds_{it}{{stage="publish"}}' for it in ("count", "sum"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """How much is measured."""

    #: The way that is judged; each other one differs from it in its interval or in its partitions.
    main: DeliveryMode
    intervals_ms: tuple[int, ...]
    partition_counts: tuple[int, ...]
    #: How often the main way is measured, in turn with at least once.
    num_rounds: int
    num_backlog: int
    phase_s: float
    #: The offered load, of what the first at-least-once run can do.
    share: float = 0.5
    #: No run begins that would end later than that; 0: no limit.
    limit_s: float = 0.0
    seed: int = 0


def build_modes(plan: DeliveryPlan) -> list[DeliveryMode]:
    """Return the runs in order: those of exactly once have at least once beside them, before or after or both."""
    beside = DeliveryMode(plan.main.num_partitions)
    ways = [beside, *(plan.main, beside) * plan.num_rounds]
    others = [DeliveryMode(beside.num_partitions, it) for it in plan.intervals_ms if it != plan.main.interval_ms]
    for first in range(0, len(others), 2):
        ways += [*others[first : first + 2], beside]
    for count in plan.partition_counts:
        if count != beside.num_partitions:
            ways += [DeliveryMode(count), DeliveryMode(count, plan.main.interval_ms)]
    return ways


async def run(plan: DeliveryPlan, place: Place) -> DeliveryResults:
    """Measure one way after another; whatever ends it, nothing goes on running."""
    results = DeliveryResults(machine={"cores": count_cores(), "corpus_texts": len(place.texts)}, main=plan.main)
    ways, run_id = build_modes(plan), f"bench-delivery-{int(time.time())}"
    began_s = before_s = time.monotonic()
    longest_s = 0.0
    for number, way in enumerate(ways):
        if plan.limit_s and before_s - began_s + longest_s > plan.limit_s:
            results.notes.append(f"left out, because the time was up: {'; '.join(it.name for it in ways[number:])}")
            break
        topic = Topics(place.connection, f"{run_id}-{number}", num_partitions=way.num_partitions)
        place.say(f"{number + 1:2} of {len(ways):2}    {way.name} …")
        known = results.runs[0].messages_per_s if results.runs else None
        results.runs.append(await _run(plan, place, topic, way, capacity_per_s=known))
        place.say(f"            {_said(results.runs[-1])}")
        now_s = time.monotonic()
        before_s, longest_s = now_s, max(longest_s, now_s - before_s)
    results.notes.append(
        f"{plan.num_backlog:,} messages a backlog, {plan.phase_s:g} s a load of {plan.share:.0%} of the first run's speed; "
        "producer, reader, broker and worker share the cores; under the backlog nothing is produced or read"
    )
    return results


async def _run(plan: DeliveryPlan, place: Place, topic: Topics, way: DeliveryMode, *, capacity_per_s: float | None) -> DeliveryRun:
    """Start a worker, let it empty a backlog, offer it a load, and stop it."""
    await topic.create()
    values = [stream_phases.request(place.texts[n % len(place.texts)], n) for n in range(plan.num_backlog)]
    told: dict[str, object] = {"delivery": way.delivery}
    if way.interval_ms is not None:
        told["transaction_interval_ms"] = way.interval_ms
    async with contextlib.AsyncExitStack() as running:
        async with stream_phases.backlog(topic, values):
            workers, start_s = await running.enter_async_context(working(place, topic, told, num_workers=1))
        _, backlog = await _timed(place, workers, lambda: stream_phases.answered(topic, workers))
        messages_per_s = steady_per_s([it.done_ms for it in await topic.read_all()])
        rate_per_s = max(1.0, plan.share * (capacity_per_s or messages_per_s))
        load = functools.partial(stream_phases.offer, topic, workers, values, rate_per_s=rate_per_s, share=plan.share)
        async with _seen(topic) as seen:
            offered, under_load = await _timed(place, workers, lambda: load(phase_s=plan.phase_s, seed=plan.seed))
    settled_ms = min((due_ms for due_ms, _ in seen), default=0.0) + SETTLING_S * 1000
    return DeliveryRun(
        way=way,
        start_s=start_s,
        messages_per_s=messages_per_s,
        backlog=backlog,
        offered_per_s=offered.offered_per_s,
        latency=latency([seen_ms - due_ms for due_ms, seen_ms in seen if due_ms >= settled_ms]),
        sender_late_p99_ms=offered.sender_late_p99_ms,
        load=under_load,
        lost=topic.tally.account.num_missing,
        duplicated=topic.tally.account.num_duplicates,
    )


async def _timed(place: Place, workers: Sequence[WorkerProcess], doing: Callable[[], Awaitable[_T]]) -> tuple[_T, Work]:
    """Do something, and read the processes' clocks and the workers' counters before and after."""
    before = await stream_phases.metrics(workers)
    async with Watch(it.process.pid for it in workers) as worker, Watch([place.broker_pid] if place.broker_pid else []) as broker:
        result = await doing()
    broker_s = broker.usage.cpu_s if place.broker_pid else math.nan
    return result, build_work(before, await stream_phases.metrics(workers), worker_s=worker.usage.cpu_s, broker_s=broker_s)


def build_work(before: Mapping[str, float], after: Mapping[str, float], *, worker_s: float, broker_s: float) -> Work:
    """Return what the messages between two readings of the counters took."""
    publications, seconds = (after.get(name, 0.0) - before.get(name, 0.0) for name in (_NUM_PUBLICATIONS, _PUBLISHING_S))
    done = (stream_phases.published(after) - stream_phases.published(before)) / stream_phases.NUM_OUTPUTS
    return Work(
        worker_ms=_each(worker_s * 1000, done),
        broker_ms=_each(broker_s * 1000, done),
        per_publication=_each(done, publications),
        publish_ms=_each(seconds * 1000, publications),
    )


def _each(total: float, number: float) -> float:
    return total / number if number else math.nan


@contextlib.asynccontextmanager
async def _seen(topic: Topics) -> AsyncIterator[list[tuple[float, float]]]:
    """Give, of each message that comes meanwhile, when it was due and when a reader of what is committed had its label, in ms.

    The label alone is read: it is the smallest output, and outputs of a transaction are seen together.
    """
    seen: list[tuple[float, float]] = []
    stop = asyncio.Event()
    labels = clients.follow(topic.connection, [topic.settings["labels_topic"]], from_beginning=False, stop=stop)
    # It stands at the end of the topic once it has given something, if only nothing.
    await anext(labels)

    async def follow() -> None:
        async for records in labels:
            now_ms = time.time() * 1000
            seen.extend((float(read_headers(it.headers)["gist-source-timestamp"]), now_ms) for it in records)

    following = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        stop.set()
        await following


def _said(run: DeliveryRun) -> str:
    waits = f"p50 {run.latency.p50_ms:.0f} ms, p99 {run.latency.p99_ms:.0f} ms at {run.offered_per_s:.0f}/s"
    return f"{run.messages_per_s:.0f} messages/s; {waits}; lost {run.lost}, repeated {run.duplicated}"
