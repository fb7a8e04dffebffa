"""Measures changes of the consumer group under load: a replica joins, leaves, is killed, or all restart one after the other.

The owners of the partitions before and after a change tell the partitions that stay from those that move.

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
from worker.broker.admin.group_settings import SESSION_TIMEOUT, set_group_settings
from worker.broker.admin.groups import describe_group
from worker.host import list_cores

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.bench.stream.tally import Answer
    from worker.testbed.worker_process import WorkerProcess

#: The kinds of change; `quiet` changes nothing, and `rolling` restarts each replica, one after the other.
KINDS = ("quiet", "join", "leave", "kill", "rolling")
#: The protocols of the group.
PROTOCOLS = ("classic", "consumer")
#: The load as a share of the throughput of one replica: the remaining replica can process all of it.
SHARE = 0.4
SESSION_TIMEOUT_MS = 10_000
NUM_REPLICAS = 3
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of the group, and the group in which it happens."""

    kind: str
    delivery: str
    protocol: str
    is_static: bool = False

    @property
    def name(self) -> str:
        """The row in the table."""
        return f"{self.kind}{', static members' * self.is_static}, {self.protocol} protocol, {self.delivery.replace('_', ' ')}"


def build_changes(kinds: Iterable[str], protocols: Sequence[str], delivery: str) -> list[Change]:
    """Return each kind of change with each protocol; a rolling restart is measured with static members, too."""
    return [
        Change(kind=kind, delivery=delivery, protocol=protocol, is_static=is_static)
        for kind in kinds
        for is_static in ((False, True) if kind == "rolling" else (False,))
        for protocol in protocols
    ]


async def measure_change(context: BenchContext, topic: Topics, change: Change, load: SteadyLoad) -> dict[str, float]:
    """Offer a load, change the group meanwhile, and read the outputs afterwards.

    Returns the longest time without an answer of a partition, the longest wait of a record where the owner stays and where it
    changes, the number of partitions that move, the time from a kill until every partition is served again, the records whose
    outputs were published again, the percentiles of latency, and the lost records.
    """
    await topic.create()
    await _shorten_session(context, topic, change)
    values = phases.build_requests(context, round(load.rate_per_s * load.seconds))
    async with contextlib.AsyncExitStack() as stack:
        group = await _start_group(context, topic, change, stack)
        before: dict[int, str] = {}

        async def change_group() -> float:
            await asyncio.sleep(load.seconds * _QUIET_SHARE)
            before.update(await _find_owners(topic))
            changed_ms = time.time() * 1000
            await group.apply(change.kind)
            return changed_ms

        sending = phases.send_load(topic, values, rate_per_s=load.rate_per_s, phase_s=load.seconds, seed=load.seed)
        _, changed_ms = await asyncio.gather(sending, change_group())
        after = await _find_owners(topic)
        answers = await topic.read_all()
    moved = {partition for partition, owner in before.items() if after.get(partition) != owner}
    return {
        "pause_s": longest_pause_s(answers),
        # A rolling restart pauses all partitions, also those that return to their owner.
        **(build_waits(answers, moved) if change.kind != "rolling" else {}),
        "takeover_s": takeover_s(answers, changed_ms) if change.kind == "kill" else math.nan,
        "redone": topic.tally.audit.num_duplicates // phases.NUM_OUTPUTS,
        **summarize_latency([answer.wait_ms for answer in answers]),
        "lost": topic.tally.audit.num_missing,
    }


@dataclass(slots=True)
class _Group:
    """The replicas of a group, and how one more joins."""

    workers: Sequence[WorkerProcess]
    join: Callable[[], Awaitable[object]]

    async def apply(self, kind: str) -> None:
        if kind == "join":
            await self.join()
        elif kind == "leave":
            await asyncio.to_thread(self.workers[-1].stop)
        elif kind == "kill":
            await asyncio.to_thread(self.workers[-1].kill)
        elif kind == "rolling":
            for worker in self.workers:
                await asyncio.to_thread(worker.restart)
                await worker.wait_until_ready()


async def _start_group(context: BenchContext, topic: Topics, change: Change, stack: contextlib.AsyncExitStack) -> _Group:
    """Start the replicas that are members before the change, each on a core; `stack` stops them."""
    settings = {
        "delivery": change.delivery,
        "group_protocol": change.protocol,
        "threads": 1,
        "tokenizer_threads": 1,
        "session_timeout_ms": SESSION_TIMEOUT_MS,
    }
    available = list_cores()
    pinned = [[available[number % len(available)]] for number in range(NUM_REPLICAS)]
    names = [f"{topic.input}-{number}" if change.is_static else "" for number in range(NUM_REPLICAS)]
    num_first = NUM_REPLICAS - 1 if change.kind == "join" else NUM_REPLICAS

    def join(first: int, count: int) -> Awaitable[tuple[Sequence[WorkerProcess], float]]:
        starting = run_workers(
            context, topic, settings, num_workers=count, cores=pinned[first:], instances=names[first:], first=first
        )
        return stack.enter_async_context(starting)

    workers, _ = await join(0, num_first)
    return _Group(workers, lambda: join(num_first, 1))


async def _shorten_session(context: BenchContext, topic: Topics, change: Change) -> None:
    """Give a group of the consumer protocol the session timeout that members of the classic protocol choose."""
    if change.protocol == "consumer":
        refusals = await set_group_settings(topic.connection, topic.input, {SESSION_TIMEOUT: SESSION_TIMEOUT_MS})
        for name, reason in refusals.items():
            context.say(f"            {name} is not set: {reason}")


async def _find_owners(topic: Topics) -> dict[int, str]:
    """Return the client id of the owner of each input partition."""
    group = await describe_group(topic.connection, topic.input)
    return {partition.index: member.client_id for member in group.members for partition in member.partitions}


def build_waits(answers: Sequence[Answer], moved: Collection[int]) -> dict[str, float]:
    """Return the longest wait of a record in the partitions that stay and in those that move, in seconds, and their number.

    A record that arrives at the start of a pause waits for its end. So sparse records do not count as a pause.
    """
    waits_ms: dict[bool, list[int]] = {False: [], True: []}
    for answer in answers:
        waits_ms[answer.partition in moved].append(answer.wait_ms)
    stays_s, moves_s = (max(waits_ms[is_moved], default=math.nan) / 1000 for is_moved in (False, True))
    return {"stays_s": stays_s, "moves_s": moves_s, "num_moved": len(moved)}


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
