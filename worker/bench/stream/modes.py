"""Measures modes, one worker or several with certain settings, one after the other: a backlog, then an offered load.

A backlog is complete before the first worker starts, so that nothing is produced during its measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.frame.machine import describe_machine
from worker.bench.frame.runs import Runs, ratio
from worker.bench.stream import phases
from worker.bench.stream.load_generator import summarize_latency
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.usage import Watch
from worker.bench.stream.workers import run_workers
from worker.broker.tools import clients
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.testbed.worker_process import WorkerProcess

_NUM_PUBLICATIONS, _PUBLISHING_S = (f'gist_stage_duration_seconds_{suffix}{{stage="publish"}}' for suffix in ("count", "sum"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """Workers with certain settings."""

    name: str
    delivery: str
    num_replicas: int = 1
    num_partitions: int = 8
    #: Settings that differ from the defaults.
    settings: Mapping[str, object] = field(default_factory=dict)
    #: The cores of each replica; empty: unpinned.
    cores: Sequence[Sequence[int]] = ()

    @property
    def full_name(self) -> str:
        """The row in the table: the name with the delivery."""
        return f"{self.name}, {self.delivery.replace('_', ' ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModePlan:
    """The amount of work for each mode."""

    num_backlog: int
    phase_s: float
    #: The offered load, as a share of the mode's own throughput or, where `is_load_fixed`, of that of the first mode.
    share: float = 0.5
    is_load_fixed: bool = False
    #: Whether latency ends at a reader of committed records, or else at the broker's append of the last output.
    is_read: bool = False
    #: No mode begins that would end later, in seconds.
    limit_s: float = math.inf


@dataclass(slots=True)
class ModeResults:
    """The runs of some modes, with the full name of each mode as row."""

    machine: dict[str, Any] = field(default_factory=describe_machine)
    #: The measured modes, in order; each has one of the runs.
    modes: list[Mode] = field(default_factory=list)
    runs: Runs = field(default_factory=Runs)
    notes: list[str] = field(default_factory=list)


async def measure_modes(plan: ModePlan, context: BenchContext, modes: Sequence[Mode], *, name: str) -> ModeResults:
    """Measure one mode after another; however this ends, no process remains. Topics begin with `name`."""
    results, started_s, longest_s, run_id = ModeResults(), time.monotonic(), 0.0, int(time.time())
    for number, mode in enumerate(modes):
        before_s = time.monotonic()
        if before_s - started_s + longest_s > plan.limit_s:
            results.notes.append(f"skipped at the time limit: {'; '.join(left.full_name for left in modes[number:])}")
            break
        context.say(f"{number + 1:2} of {len(modes):2}    {mode.full_name} …")
        topic = phases.Topics(context.connection, f"{name}-{run_id}-{number}", num_partitions=mode.num_partitions)
        first_per_s = results.runs.runs[0].figures["records_per_s"] if results.modes and plan.is_load_fixed else None
        figures = await _measure_mode(plan, context, topic, mode, load_per_s=first_per_s)
        results.modes.append(mode)
        results.runs.add(mode.full_name, **figures)
        context.say(f"            {figures['records_per_s']:.0f} records/s, p50 {figures['p50_ms']:.0f} ms")
        longest_s = max(longest_s, time.monotonic() - before_s)
    results.notes.append(
        f"{plan.num_backlog:,} records per backlog, {plan.phase_s:g} s per offered load; sender, broker and workers share the cores"
    )
    return results


async def _measure_mode(
    plan: ModePlan, context: BenchContext, topic: Topics, mode: Mode, *, load_per_s: float | None
) -> dict[str, float]:
    """Return the figures of a backlog and of an offered load."""
    await topic.create()
    values = phases.build_requests(context, plan.num_backlog)
    async with contextlib.AsyncExitStack() as stack:
        async with phases.backlog(topic, values):
            settings = {"delivery": mode.delivery, **mode.settings}
            starting = run_workers(context, topic, settings, num_workers=mode.num_replicas, cores=mode.cores)
            workers, _ = await stack.enter_async_context(starting)
        async with watch_work(context, workers) as backlog:
            await phases.wait_until_published(topic, workers)
        records_per_s = steady_per_s([answer.done_ms for answer in await topic.read_all()])
        rate_per_s = max(1.0, plan.share * (load_per_s or records_per_s))
        seen = list[tuple[float, float]]()
        if plan.is_read:
            seen = await stack.enter_async_context(_follow_labels(topic))
        async with watch_work(context, workers) as load:
            offered = await phases.offer_load(topic, workers, values, rate_per_s=rate_per_s, phase_s=plan.phase_s, seed=0)
    if plan.is_read:
        settled_ms = min((due_ms for due_ms, _ in seen), default=0.0) + phases.SETTLING_S * 1000
        offered |= summarize_latency([seen_ms - due_ms for due_ms, seen_ms in seen if due_ms >= settled_ms])
    memory = {f"{name}_mib": backlog[f"{name}_mib"] / mode.num_replicas for name in ("idle", "peak")}
    return {
        "records_per_s": records_per_s,
        **offered,
        **load,
        **{f"backlog_{figure}": value for figure, value in backlog.items()},
        **memory,
        "lost": topic.tally.audit.num_missing,
        "repeated": topic.tally.audit.num_duplicates,
    }


@contextlib.asynccontextmanager
async def watch_work(context: BenchContext, workers: Sequence[WorkerProcess]) -> AsyncIterator[dict[str, float]]:
    """Yield figures that are filled at the end: the work per record of `build_work`, busy cores, and resident memory in MiB.

    `loop_us` is the processor time of the event loops per record, in microseconds.
    """
    before, figures = await phases.read_metrics(workers), dict[str, float]()
    pids, broker_pids = [worker.process.pid for worker in workers], [context.broker_pid] if context.broker_pid else []
    async with Watch(pids) as idle:
        pass
    async with Watch(pids) as watch, Watch(broker_pids) as broker:
        yield figures
    broker_s, broker_cores = (broker.usage.cpu_s, broker.usage.cores) if broker_pids else (math.nan, math.nan)
    after = await phases.read_metrics(workers)
    num_done = (phases.count_published(after) - phases.count_published(before)) / phases.NUM_OUTPUTS
    figures |= build_work(before, after, worker_s=watch.usage.cpu_s, broker_s=broker_s)
    figures |= {"cores": watch.usage.cores, "broker_cores": broker_cores, "loop_us": ratio(watch.usage.loop_s * 1e6, num_done)}
    figures |= {"idle_mib": idle.usage.rss_mib, "peak_mib": watch.usage.peak_rss_mib}


def build_work(before: Mapping[str, float], after: Mapping[str, float], *, worker_s: float, broker_s: float) -> dict[str, float]:
    """Return the work per record between two readings of the metrics.

    Processor milliseconds of workers and broker, records per publication of a partition (with exactly-once a publication is a
    transaction), and the mean milliseconds of a publication.
    """
    publications, seconds = (after.get(name, 0.0) - before.get(name, 0.0) for name in (_NUM_PUBLICATIONS, _PUBLISHING_S))
    done = (phases.count_published(after) - phases.count_published(before)) / phases.NUM_OUTPUTS
    return {
        "worker_ms": ratio(worker_s * 1000, done),
        "broker_ms": ratio(broker_s * 1000, done),
        "per_publication": ratio(done, publications),
        "publish_ms": ratio(seconds * 1000, publications),
    }


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
