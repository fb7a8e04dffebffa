"""Measures exactly-once delivery against at-least-once delivery.

Each exactly-once run is adjacent to at-least-once runs with the same number of partitions and is compared with these alone: the
speed of a shared machine changes within minutes. Each run has a worker process and topics of its own, a backlog, and an offered
load that is the same for all runs.
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
from worker.bench.frame.machine import describe_machine
from worker.bench.stream import phases
from worker.bench.stream.load_generator import summarize_latency
from worker.bench.stream.results import ratio
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.usage import Watch
from worker.bench.stream.workers import run_workers
from worker.broker.tools import clients
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.testbed.worker_process import WorkerProcess

_T = TypeVar("_T")
_NUM_PUBLICATIONS, _PUBLISHING_S = (f'gist_stage_duration_seconds_{suffix}{{stage="publish"}}' for suffix in ("count", "sum"))
# The defaults of the settings.
_MAIN = DeliveryMode(8, 100)
# With --quick no run begins that would end later.
_QUICK_LIMIT_S = 95.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """The amount of work."""

    #: The main mode; each other mode has another interval or another number of partitions.
    main: DeliveryMode = _MAIN
    intervals_ms: tuple[int, ...]
    partition_counts: tuple[int, ...]
    #: Runs of the main mode, in turn with at-least-once.
    num_rounds: int
    num_backlog: int
    phase_s: float
    #: The offered load, as a share of the throughput of the first at-least-once run.
    share: float = 0.5
    #: No run begins that would end later; 0: no limit.
    limit_s: float = 0.0
    seed: int = 0

    @classmethod
    def build(
        cls,
        *,
        intervals_ms: tuple[int, ...],
        partition_counts: tuple[int, ...],
        num_rounds: int,
        count: int,
        phase_s: float,
        is_quick: bool,
    ) -> DeliveryPlan:
        """Return the whole plan, or the one that ends within two minutes."""
        if not is_quick:
            return cls(
                intervals_ms=intervals_ms,
                partition_counts=partition_counts,
                num_rounds=num_rounds,
                num_backlog=count,
                phase_s=phase_s,
            )
        return cls(
            intervals_ms=(10, 100),
            partition_counts=(8, 32),
            num_rounds=1,
            num_backlog=min(count, 4_000),
            phase_s=min(phase_s, 4.0),
            limit_s=_QUICK_LIMIT_S,
        )


def build_modes(plan: DeliveryPlan) -> list[DeliveryMode]:
    """Return the modes in the order of the runs: at-least-once is adjacent to each exactly-once run."""
    reference = DeliveryMode(plan.main.num_partitions)
    modes = [reference, *(plan.main, reference) * plan.num_rounds]
    others = [
        DeliveryMode(reference.num_partitions, interval) for interval in plan.intervals_ms if interval != plan.main.interval_ms
    ]
    for first in range(0, len(others), 2):
        modes += [*others[first : first + 2], reference]
    for count in plan.partition_counts:
        if count != reference.num_partitions:
            modes += [DeliveryMode(count), DeliveryMode(count, plan.main.interval_ms)]
    return modes


async def run(plan: DeliveryPlan, context: BenchContext) -> DeliveryResults:
    """Measure one mode after another; however this ends, no process remains."""
    results = DeliveryResults(machine=describe_machine() | {"corpus_texts": len(context.texts)}, main=plan.main)
    modes, run_id = build_modes(plan), f"bench-delivery-{int(time.time())}"
    started_s = before_s = time.monotonic()
    longest_s = 0.0
    for number, mode in enumerate(modes):
        if plan.limit_s and before_s - started_s + longest_s > plan.limit_s:
            results.notes.append(f"skipped at the time limit: {'; '.join(mode.name for mode in modes[number:])}")
            break
        topic = phases.Topics(context.connection, f"{run_id}-{number}", num_partitions=mode.num_partitions)
        context.say(f"{number + 1:2} of {len(modes):2}    {mode.name} …")
        known = results.runs[0].messages_per_s if results.runs else None
        results.runs.append(await _run(plan, context, topic, mode, capacity_per_s=known))
        context.say(f"            {_describe(results.runs[-1])}")
        now_s = time.monotonic()
        before_s, longest_s = now_s, max(longest_s, now_s - before_s)
    results.notes.append(
        f"{plan.num_backlog:,} records per backlog, {plan.phase_s:g} s at {plan.share:.0%} of the first run's throughput; "
        "producer, reader, broker and worker share the cores; during the backlog nothing is produced or consumed"
    )
    return results


async def _run(
    plan: DeliveryPlan, context: BenchContext, topic: Topics, mode: DeliveryMode, *, capacity_per_s: float | None
) -> DeliveryRun:
    """Measure one worker under a backlog and under a load."""
    await topic.create()
    values = phases.build_requests(context, plan.num_backlog)
    settings: dict[str, object] = {"delivery": mode.delivery}
    if mode.interval_ms is not None:
        settings["transaction_interval_ms"] = mode.interval_ms
    async with contextlib.AsyncExitStack() as stack:
        async with phases.backlog(topic, values):
            workers, start_s = await stack.enter_async_context(run_workers(context, topic, settings, num_workers=1))
        _, backlog = await _measure_work(context, workers, lambda: phases.wait_until_published(topic, workers))
        messages_per_s = steady_per_s([answer.done_ms for answer in await topic.read_all()])
        rate_per_s = max(1.0, plan.share * (capacity_per_s or messages_per_s))
        offer = functools.partial(phases.offer_load, topic, workers, values, rate_per_s=rate_per_s, share=plan.share)
        async with _follow_labels(topic) as seen:
            offered, load = await _measure_work(context, workers, lambda: offer(phase_s=plan.phase_s, seed=plan.seed))
    settled_ms = min((due_ms for due_ms, _ in seen), default=0.0) + phases.SETTLING_S * 1000
    return DeliveryRun(
        mode=mode,
        start_s=start_s,
        messages_per_s=messages_per_s,
        backlog=backlog,
        offered_per_s=offered.offered_per_s,
        latency=summarize_latency([seen_ms - due_ms for due_ms, seen_ms in seen if due_ms >= settled_ms]),
        sender_late_p99_ms=offered.sender_late_p99_ms,
        load=load,
        lost=topic.tally.audit.num_missing,
        duplicated=topic.tally.audit.num_duplicates,
    )


async def _measure_work(
    context: BenchContext, workers: Sequence[WorkerProcess], action: Callable[[], Awaitable[_T]]
) -> tuple[_T, Work]:
    """Await an action; return its result, and the work from processor clocks and metrics before and after it."""
    before = await phases.read_metrics(workers)
    broker_pids = [context.broker_pid] if context.broker_pid else []
    async with Watch(worker.process.pid for worker in workers) as worker_watch, Watch(broker_pids) as broker_watch:
        result = await action()
    broker_s = broker_watch.usage.cpu_s if broker_pids else math.nan
    after = await phases.read_metrics(workers)
    return result, build_work(before, after, worker_s=worker_watch.usage.cpu_s, broker_s=broker_s)


def build_work(before: Mapping[str, float], after: Mapping[str, float], *, worker_s: float, broker_s: float) -> Work:
    """Return the work per record between two readings of the metrics."""
    publications, seconds = (after.get(name, 0.0) - before.get(name, 0.0) for name in (_NUM_PUBLICATIONS, _PUBLISHING_S))
    done = (phases.count_published(after) - phases.count_published(before)) / phases.NUM_OUTPUTS
    return Work(
        worker_ms=ratio(worker_s * 1000, done),
        broker_ms=ratio(broker_s * 1000, done),
        per_publication=ratio(done, publications),
        publish_ms=ratio(seconds * 1000, publications),
    )


@contextlib.asynccontextmanager
async def _follow_labels(topic: Topics) -> AsyncIterator[list[tuple[float, float]]]:
    """Yield a list that fills with due time and arrival time, in ms, of each label at a reader of committed records.

    Labels are the smallest outputs, and all outputs of a transaction become visible together.
    """
    seen: list[tuple[float, float]] = []
    stop = asyncio.Event()
    labels = clients.follow(topic.connection, [topic.settings["labels_topic"]], from_beginning=False, stop=stop)
    # The first result, which may be empty, shows that the reader is at the end of the topic.
    await anext(labels)

    async def follow() -> None:
        async for records in labels:
            now_ms = time.time() * 1000
            seen.extend((float(read_headers(record.headers)["gist-source-timestamp"]), now_ms) for record in records)

    following = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        stop.set()
        await following


def _describe(run: DeliveryRun) -> str:
    latency = f"p50 {run.latency.p50_ms:.0f} ms, p99 {run.latency.p99_ms:.0f} ms at {run.offered_per_s:.0f}/s"
    return f"{run.messages_per_s:.0f} records/s; {latency}; lost {run.lost}, repeated {run.duplicated}"
