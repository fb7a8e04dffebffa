"""Offer the live topic the same loads with a backfill beside them and without, in turns, to one worker on two topics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.bench.lanes.results import LanesResults, Turn
from worker.bench.stream import phases
from worker.bench.stream.tally import throughput
from worker.bench.stream.workers import working
from worker.broker.admin import topics
from worker.broker.tools import clients
from worker.host import count_cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.bench.stream.workers import Place
    from worker.testbed.worker_process import WorkerProcess

# A backfill that ended before the load did would leave the end of it alone.
_SPARE = 1.5
_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesPlan:
    """How much is measured."""

    num_partitions: int
    num_backlog: int
    #: Of the measured capacity of the live lane.
    shares: Sequence[float]
    num_rounds: int
    phase_s: float
    #: What `GIST_MAX_BACKFILL_BATCH_TOKENS` is.
    max_backfill_batch_tokens: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where the turns are played: the two topics, and the worker that reads both."""

    live: phases.Topics
    backfill: str
    workers: Sequence[WorkerProcess]
    values: Sequence[bytes]

    async def num_backfilled(self) -> float:
        """Return how many messages of the backfill are done."""
        name = f'gist_end_to_end_latency_seconds_count{{topic="{self.backfill}"}}'
        return (await phases.metrics(self.workers)).get(name, 0.0)


async def run(plan: LanesPlan, place: Place) -> LanesResults:
    """Measure everything and return it; whatever ends it, nothing goes on running."""
    results = LanesResults({"cores": count_cores(), "corpus_texts": len(place.texts)})
    live = phases.Topics(place.connection, f"bench-lanes-{int(time.time())}", num_partitions=plan.num_partitions)
    backfill = f"{live.input}.backfill"
    await live.create()
    await topics.create_missing(place.connection, {backfill: plan.num_partitions})
    values = [phases.request(place.texts[n % len(place.texts)], n) for n in range(plan.num_backlog)]
    told = {"backfill_topic": backfill, "max_backfill_batch_tokens": plan.max_backfill_batch_tokens}
    async with contextlib.AsyncExitStack() as running:
        async with phases.backlog(live, values):
            workers, _ = await running.enter_async_context(working(place, live, told, num_workers=1))
        await phases.answered(live, workers)
        answers = await live.read_all()
        results.capacity_per_s = throughput([it.done_ms for it in answers], [it.num_tokens for it in answers]).messages_per_s
        place.say(f"live alone  {results.capacity_per_s:.0f} messages/s")
        await _play(plan, place, _Stage(live, backfill, workers, values), results)
    results.lost = live.tally.account.num_missing
    results.notes.append(
        f"{plan.num_rounds} rounds of {plan.phase_s:g} s for each load, the same arrivals with and without; backfill fills a pass "
        f"up to {plan.max_backfill_batch_tokens} tokens; sender, broker and worker share the cores"
    )
    return results


async def _play(plan: LanesPlan, place: Place, stage: _Stage, results: LanesResults) -> None:
    for number in range(plan.num_rounds):
        for share in plan.shares:
            for has_backfill in (False, True):
                turn = await _turn(plan, place, stage, results.capacity_per_s, share=share, seed=number, has_backfill=has_backfill)
                results.turns.append(turn)
                place.say(
                    f"            {share:.0%} live, backfill {turn.backfill_per_s:.0f} a second: "
                    f"p50 {turn.load.latency.p50_ms:.0f} ms, p99 {turn.load.latency.p99_ms:.0f} ms"
                )


async def _turn(
    plan: LanesPlan, place: Place, stage: _Stage, capacity_per_s: float, *, share: float, seed: int, has_backfill: bool
) -> Turn:
    before, began_s = await stage.num_backfilled(), time.monotonic()
    num_sent = round(capacity_per_s * (1 - share) * plan.phase_s * _SPARE) if has_backfill else 0
    if has_backfill:
        async with clients.open_transaction(place.connection, name=stage.backfill) as producer:
            for number in range(num_sent):
                value = phases.request(place.texts[number * 31 % len(place.texts)], number)
                await producer.send(stage.backfill, value, partition=number % plan.num_partitions)
    load = await phases.offer(
        stage.live,
        stage.workers,
        stage.values,
        rate_per_s=capacity_per_s * share,
        share=share,
        phase_s=plan.phase_s,
        seed=plan.seed + seed,
    )
    backfill_per_s = (await stage.num_backfilled() - before) / (time.monotonic() - began_s)
    while await stage.num_backfilled() < before + num_sent:  # noqa: ASYNC110  another process does it
        await asyncio.sleep(_POLL_S)
    return Turn(load, has_backfill, backfill_per_s)
