"""Offers the same live loads with and without a backfill, in turn, to one worker with two topics."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.frame.machine import describe_machine
from worker.bench.frame.runs import Runs
from worker.bench.stream import phases
from worker.bench.stream.tally import steady_per_s
from worker.bench.stream.workers import run_workers
from worker.broker.admin import topics
from worker.broker.tools import clients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.bench.frame.context import BenchContext
    from worker.testbed.worker_process import WorkerProcess

# The backfill must last longer than the load.
_SPARE = 1.5
_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPlan:
    """The amount of work."""

    num_partitions: int
    num_backlog: int
    #: Live loads, as shares of the measured capacity.
    shares: Sequence[float]
    num_rounds: int
    phase_s: float
    #: The setting `GIST_MAX_BACKFILL_BATCH_TOKENS`.
    max_backfill_batch_tokens: int


@dataclass(slots=True)
class BackfillResults:
    """All results of one run; the rows are those of `name_turn`."""

    machine: dict[str, Any]
    shares: Sequence[float]
    #: Throughput of live records alone; loads are shares of it.
    capacity_per_s: float = math.nan
    turns: Runs = field(default_factory=Runs)
    #: Live records without all their outputs.
    lost: int = 0
    notes: list[str] = field(default_factory=list)


def name_turn(share: float, *, has_backfill: bool) -> str:
    """Return the row of a live load, with or without a backfill."""
    return f"{share:.0%} live{', with backfill' * has_backfill}"


async def run(plan: BackfillPlan, context: BenchContext) -> BackfillResults:
    """Measure the capacity, then all turns; however this ends, no process remains."""
    results = BackfillResults(describe_machine() | {"corpus_texts": len(context.texts)}, plan.shares)
    live = phases.Topics(context.connection, f"bench-backfill-{int(time.time())}", num_partitions=plan.num_partitions)
    backfill = f"{live.input}.backfill"
    await live.create()
    await topics.create_missing(context.connection, {backfill: plan.num_partitions})
    values = phases.build_requests(context, plan.num_backlog)
    settings = {"backfill_topic": backfill, "max_backfill_batch_tokens": plan.max_backfill_batch_tokens}
    async with contextlib.AsyncExitStack() as stack:
        async with phases.backlog(live, values):
            workers, _ = await stack.enter_async_context(run_workers(context, live, settings, num_workers=1))
        await phases.wait_until_published(live, workers)
        results.capacity_per_s = steady_per_s([answer.done_ms for answer in await live.read_all()])
        context.say(f"live alone  {results.capacity_per_s:.0f} records/s")
        turns = _Turns(plan, context, live, backfill, workers, values, results.capacity_per_s)
        for number, share, has_backfill in itertools.product(range(plan.num_rounds), plan.shares, (False, True)):
            name = name_turn(share, has_backfill=has_backfill)
            turn = await turns.run(share, seed=number, has_backfill=has_backfill)
            results.turns.add(name, **turn)
            context.say(f"            {name}: p50 {turn['p50_ms']:.0f} ms, p99 {turn['p99_ms']:.0f} ms")
    results.lost = live.tally.audit.num_missing
    results.notes.append(
        f"{plan.num_rounds} rounds of {plan.phase_s:g} s per load, with the same arrivals with and without backfill; backfill "
        f"batches of at most {plan.max_backfill_batch_tokens} tokens; sender, broker and worker share the cores"
    )
    return results


@dataclass(frozen=True, slots=True)
class _Turns:
    """The two topics, and the workers that read both."""

    plan: BackfillPlan
    context: BenchContext
    live: phases.Topics
    backfill: str
    workers: Sequence[WorkerProcess]
    values: Sequence[bytes]
    capacity_per_s: float

    async def run(self, share: float, *, seed: int, has_backfill: bool) -> dict[str, float]:
        """Offer one live load; return its latency and the throughput of the backfill when the backfill has ended, too."""
        plan, before, started_s = self.plan, await self._count_backfilled(), time.monotonic()
        num_sent = round(self.capacity_per_s * (1 - share) * plan.phase_s * _SPARE) if has_backfill else 0
        if num_sent:
            async with clients.open_transaction(self.context.connection, name=self.backfill) as producer:
                for number in range(num_sent):
                    value = phases.build_request(self.context.text(number * 31), number)
                    await producer.send(self.backfill, value, partition=number % plan.num_partitions)
        rate_per_s = self.capacity_per_s * share
        load = await phases.offer_load(self.live, self.workers, self.values, rate_per_s=rate_per_s, phase_s=plan.phase_s, seed=seed)
        backfill_per_s = (await self._count_backfilled() - before) / (time.monotonic() - started_s)
        while await self._count_backfilled() < before + num_sent:  # noqa: ASYNC110  another process counts
            await asyncio.sleep(_POLL_S)
        return load | ({"backfill_per_s": backfill_per_s} if has_backfill else {})

    async def _count_backfilled(self) -> float:
        """Return the processed records of the backfill."""
        name = f'gist_end_to_end_latency_seconds_count{{topic="{self.backfill}"}}'
        return (await phases.read_metrics(self.workers)).get(name, 0.0)
