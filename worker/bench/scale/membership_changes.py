"""Measures changes of the consumer group under load: a replica joins, leaves, is killed, or all restart one after the other.

The load is open-loop, so a pause shows as a gap between the answers of a partition, by the brokers' clock. Repeated work shows as
repeated outputs; outputs of aborted transactions are invisible and do not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.bench.stream import phases
from worker.bench.stream.load_generator import summarize_latency
from worker.bench.stream.workers import run_workers
from worker.host import list_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.bench.stream.tally import Answer
    from worker.testbed.worker_process import WorkerProcess

#: The kinds of change; `rolling` restarts each replica, one after the other.
KINDS = ("join", "leave", "kill", "rolling")
#: The load as a share of the throughput of one replica: the remaining replica can process all of it.
SHARE = 0.4
SESSION_TIMEOUT_MS = 10_000
NUM_REPLICAS = 2
# The change happens after this share of the load.
_QUIET_SHARE = 0.2
# Outputs of a killed worker may arrive until this time after the kill.
_LATE_OUTPUTS_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyLoad:
    """The load during the change."""

    rate_per_s: float
    seconds: float
    seed: int


def build_changes(kinds: Iterable[str]) -> list[tuple[str, bool]]:
    """Return each kind with whether members are static; a rolling restart is measured both ways."""
    return [(kind, is_static) for kind in kinds for is_static in ((False, True) if kind == "rolling" else (False,))]


async def measure_change(
    context: BenchContext, topic: Topics, kind: str, load: SteadyLoad, *, delivery: str, is_static: bool
) -> dict[str, float]:
    """Offer a load, change the group meanwhile, and read the outputs afterwards.

    Returns the longest time without an answer of a partition, the time from a kill until every partition is served again, the
    records whose outputs were published again, the percentiles of latency, and the lost records.
    """
    await topic.create()
    values = phases.build_requests(context, round(load.rate_per_s * load.seconds))
    settings = {"delivery": delivery, "threads": 1, "tokenizer_threads": 1, "session_timeout_ms": SESSION_TIMEOUT_MS}
    available = list_cores()
    pinned = [[available[number % len(available)]] for number in range(NUM_REPLICAS)]
    names = [f"{topic.input}-{number}" if is_static else "" for number in range(NUM_REPLICAS)]
    num_first = NUM_REPLICAS - 1 if kind == "join" else NUM_REPLICAS
    async with contextlib.AsyncExitStack() as stack:
        starting = run_workers(context, topic, settings, num_workers=num_first, cores=pinned, instances=names)
        workers, _ = await stack.enter_async_context(starting)

        async def change() -> float:
            await asyncio.sleep(load.seconds * _QUIET_SHARE)
            changed_ms = time.time() * 1000
            if kind == "join":
                joining = {"num_workers": 1, "cores": pinned[-1:], "instances": names[-1:], "first": num_first}
                await stack.enter_async_context(run_workers(context, topic, settings, **joining))  # type: ignore[arg-type]  # mixed
            else:
                await _change_workers(workers, kind)
            return changed_ms

        sending = phases.send_load(topic, values, rate_per_s=load.rate_per_s, phase_s=load.seconds, seed=load.seed)
        _, changed_ms = await asyncio.gather(sending, change())
        answers = await topic.read_all()
    return {
        "pause_s": longest_pause_s(answers),
        "takeover_s": takeover_s(answers, changed_ms) if kind == "kill" else math.nan,
        "redone": topic.tally.audit.num_duplicates // phases.NUM_OUTPUTS,
        **summarize_latency([answer.wait_ms for answer in answers]),
        "lost": topic.tally.audit.num_missing,
    }


def longest_pause_s(answers: Sequence[Answer]) -> float:
    """Return the longest time between consecutive answers of one partition, in seconds; NaN without such a pair."""
    done_ms: dict[int, list[int]] = defaultdict(list)
    for answer in answers:
        done_ms[answer.partition].append(answer.done_ms)
    gaps = [later - earlier for times in done_ms.values() for earlier, later in itertools.pairwise(sorted(times))]
    return max(gaps) / 1000 if gaps else math.nan


def takeover_s(answers: Sequence[Answer], killed_ms: float) -> float:
    """Return the seconds from a kill until every partition is served again; infinity if one never is."""
    first_ms = {answer.partition: math.inf for answer in answers}
    for answer in answers:
        if answer.done_ms > killed_ms + _LATE_OUTPUTS_MS:
            first_ms[answer.partition] = min(first_ms[answer.partition], answer.done_ms)
    return (max(first_ms.values(), default=math.inf) - killed_ms) / 1000


async def _change_workers(workers: Sequence[WorkerProcess], kind: str) -> None:
    if kind == "leave":
        await asyncio.to_thread(workers[-1].stop)
    elif kind == "kill":
        await asyncio.to_thread(workers[-1].kill)
    else:
        for worker in workers:
            await asyncio.to_thread(worker.restart)
            await worker.wait_until_ready()
