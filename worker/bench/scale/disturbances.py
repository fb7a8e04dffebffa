"""What a change of the group costs: a replica joins, leaves, is killed, or all are restarted in turn, while messages come.

The load does not wait: what stands still shows as silence of a partition, by the brokers' clock. What is done again shows as
outputs that come again; in transactions that were given up it is not seen, and not counted.
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

from worker.bench.scale.results import MembershipChange
from worker.bench.stream import phases as stream_phases
from worker.bench.stream.offered import latency
from worker.bench.stream.workers import working
from worker.host import list_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.bench.stream.phases import Topics
    from worker.bench.stream.tally import Answer
    from worker.bench.stream.workers import Place
    from worker.testbed.worker_process import WorkerProcess

#: What may happen to a group; in `rolling` each replica is stopped and started again, one after the other.
KINDS = ("join", "leave", "kill", "rolling")
#: The load, of what one replica can do: whoever is left can do all of it.
SHARE = 0.4
SESSION_TIMEOUT_MS = 10_000
NUM_REPLICAS = 2
# Something happens after so much of the load.
_QUIET_SHARE = 0.2
# What a worker sent before it was killed may arrive so much later.
_LAST_WORDS_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyLoad:
    """What comes meanwhile."""

    rate_per_s: float
    seconds: float
    seed: int


def ways(kinds: Iterable[str]) -> list[tuple[str, bool]]:
    """Return each kind, and those in which a member comes back a second time with members that keep their names."""
    return [(kind, is_static) for kind in kinds for is_static in ((False, True) if kind == "rolling" else (False,))]


async def measured(place: Place, topic: Topics, kind: str, load: SteadyLoad, *, delivery: str, is_static: bool) -> MembershipChange:
    """Offer a load, do something to the group meanwhile, and read afterwards what came of it."""
    await topic.create()
    values = [stream_phases.request(place.texts[n % len(place.texts)], n) for n in range(round(load.rate_per_s * load.seconds))]
    told = {"delivery": delivery, "threads": 1, "tokenizer_threads": 1, "session_timeout_ms": SESSION_TIMEOUT_MS}
    there = list_cores()
    held = [[there[number % len(there)]] for number in range(NUM_REPLICAS)]
    names = [f"{topic.input}-{number}" if is_static else "" for number in range(NUM_REPLICAS)]
    async with contextlib.AsyncExitStack() as running:
        num_first = NUM_REPLICAS - 1 if kind == "join" else NUM_REPLICAS
        starting = working(place, topic, told, num_workers=num_first, held=held, instances=names)
        workers, _ = await running.enter_async_context(starting)

        async def happen() -> float:
            await asyncio.sleep(load.seconds * _QUIET_SHARE)
            happened_ms = time.time() * 1000
            if kind == "join":
                joining = working(place, topic, told, num_workers=1, held=held[-1:], instances=names[-1:], first=num_first)
                await running.enter_async_context(joining)
            else:
                await _done_to(workers, kind)
            return happened_ms

        sending = stream_phases.send_load(topic, values, rate_per_s=load.rate_per_s, phase_s=load.seconds, seed=load.seed)
        _, happened_ms = await asyncio.gather(sending, happen())
        answers = await topic.read_all()
    return MembershipChange(
        kind=kind,
        delivery=delivery,
        is_static=is_static,
        pause_s=longest_silence_s(answers),
        takeover_s=takeover_s(answers, happened_ms) if kind == "kill" else math.nan,
        redone=topic.tally.account.num_duplicates // stream_phases.NUM_OUTPUTS,
        latency=latency([it.wait_ms for it in answers]),
        lost=topic.tally.account.num_missing,
    )


def longest_silence_s(answers: Sequence[Answer]) -> float:
    """Return the longest time between two answers of one partition that follow each other, in seconds; not-a-number of none."""
    done_ms: dict[int, list[int]] = defaultdict(list)
    for it in answers:
        done_ms[it.partition].append(it.done_ms)
    gaps = [later - earlier for times in done_ms.values() for earlier, later in itertools.pairwise(sorted(times))]
    return max(gaps) / 1000 if gaps else float("nan")


def takeover_s(answers: Sequence[Answer], killed_ms: float) -> float:
    """Return in how many seconds after a kill every partition was served again; infinity where one never was."""
    first_ms = {it.partition: math.inf for it in answers}
    for it in answers:
        if it.done_ms > killed_ms + _LAST_WORDS_MS:
            first_ms[it.partition] = min(first_ms[it.partition], it.done_ms)
    return (max(first_ms.values(), default=math.inf) - killed_ms) / 1000


async def _done_to(workers: Sequence[WorkerProcess], kind: str) -> None:
    if kind == "leave":
        await asyncio.to_thread(workers[-1].stop)
    elif kind == "kill":
        await asyncio.to_thread(workers[-1].kill)
    else:
        for it in workers:
            await asyncio.to_thread(it.restart)
            await it.ready()
