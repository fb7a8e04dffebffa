"""Changes the consumer group under load: a replica joins, leaves, is killed, or all restart one after the other.

The load is steady and open-loop, so a pause shows as a silence between the answers of a partition, by the brokers' clock. Repeated
work shows as repeated outputs; outputs of aborted transactions are invisible and do not count. A replica that joins has loaded its
model before, so that its start takes no processor time from the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.bench.scale.choices import KINDS
from worker.bench.scale.silences import Step, summarize_steps
from worker.bench.stream import phases
from worker.bench.stream.workers import run_workers
from worker.broker.admin.group_settings import SESSION_TIMEOUT, set_group_settings
from worker.broker.admin.groups import describe_group
from worker.broker.tools import clients
from worker.host import list_cores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Sequence
    from pathlib import Path

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics
    from worker.testbed.worker_process import WorkerProcess

#: The minimum durations of a forward pass, in seconds: the model's own, and batches that take long.
PASSES_S = (0.0, 1.0)
#: The load. A replica alone can process all of it, also in passes of a second.
RATE_PER_S = 100.0
SESSION_TIMEOUT_MS = 6_000
NUM_REPLICAS = 2
_GATE_INTERVAL_S = 0.1
# The longest expected silence without a change, in addition to two passes.
_LAST_SILENCE_S = 1.0
_TEXT = "A parcel from Hamburg has not arrived."
# A batch holds all records that arrive during a pass of a second. By default its size follows the duration of the passes.
_BATCH = {"max_batch_tokens": 8_192, "max_in_flight_tokens": 65_536, "resume_in_flight_tokens": 32_768}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRun:
    """The changes of one group, in order."""

    kinds: tuple[str, ...]
    delivery: str
    protocol: str
    #: The duration of a step. A kill also takes the session timeout.
    step_s: float
    pass_s: float = 0.0
    is_static: bool = False

    def name(self, kind: str) -> str:
        """Return the row of a change in the table."""
        conditions = [f"passes of {self.pass_s:g} s"] * (self.pass_s > 0) + ["static members"] * self.is_static
        return ", ".join([kind, *conditions, f"{self.protocol} protocol", self.delivery.replace("_", " ")])


def build_group_runs(
    kinds: Collection[str], protocols: Sequence[str], delivery: str, *, passes_s: Iterable[float] = PASSES_S, step_s: float = 8.0
) -> list[GroupRun]:
    """Return the groups to change with each protocol. A rolling restart has a group of its own, and another with static members."""
    changes = tuple(kind for kind in KINDS if kind in kinds and kind != "rolling")
    runs = [
        GroupRun(kinds=changes, delivery=delivery, protocol=protocol, step_s=step_s, pass_s=pass_s)
        for pass_s in (passes_s if changes else ())
        for protocol in protocols
    ]
    return runs + [
        GroupRun(kinds=("rolling",), delivery=delivery, protocol=protocol, step_s=step_s, is_static=is_static)
        for is_static in ((False, True) if "rolling" in kinds else ())
        for protocol in protocols
    ]


async def measure_group(context: BenchContext, topic: Topics, run: GroupRun) -> dict[str, dict[str, float]]:
    """Offer a load, change the group step by step, and read the outputs afterwards; return the figures of each step by its kind.

    The last step has the lost records and the records whose outputs were published again, of all steps.
    """
    await topic.create()
    await _shorten_session(context, topic, run)
    async with contextlib.AsyncExitStack() as stack:
        group = await _start_group(context, topic, run, stack)
        async with _offer_steady_load(topic):
            await asyncio.sleep(run.step_s / 2 + 2 * run.pass_s)
            steps = [await _observe(topic, group, run, kind) for kind in run.kinds]
        figures = summarize_steps(await topic.read_all(), steps)
    if "kill" in figures:
        # The first answers of the new owner also take a pass.
        figures["kill"]["takeover_s"] -= run.pass_s
    audit = topic.tally.audit
    figures[run.kinds[-1]] |= {"redone": audit.num_duplicates // phases.NUM_OUTPUTS, "lost": audit.num_missing}
    return figures


@contextlib.asynccontextmanager
async def _offer_steady_load(topic: Topics) -> AsyncIterator[None]:
    """Send records at equal intervals until the end of the block."""
    stopping = asyncio.Event()

    async def send() -> None:
        async with clients.open_producer(topic.connection) as producer:
            number, start_s = 0, time.time()
            while not stopping.is_set():
                due_s = start_s + number / RATE_PER_S
                await asyncio.sleep(max(0.0, due_s - time.time()))
                await topic.send(producer, phases.build_request(_TEXT, number), due_ms=round(due_s * 1000))
                number += 1

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        stopping.set()
        await sending


@dataclass(slots=True)
class _Group:
    """The replicas of a group, and one that has not joined yet."""

    workers: Sequence[WorkerProcess]
    #: The replica that joins when the gate exists; None if none joins.
    guest: asyncio.Task[tuple[Sequence[WorkerProcess], float]] | None
    gate: Path

    async def apply(self, kind: str) -> None:
        if kind == "join" and self.guest is not None:
            self.gate.touch()
            await self.guest
        elif kind == "leave":
            await asyncio.to_thread((await self.guest)[0][0].stop if self.guest else self.workers[-1].stop)
        elif kind == "kill":
            await asyncio.to_thread(self.workers[0].kill)
        elif kind == "rolling":
            for worker in self.workers:
                await asyncio.to_thread(worker.restart)
                await worker.wait_until_ready()


async def _observe(topic: Topics, group: _Group, run: GroupRun, kind: str) -> Step:
    """Change the group, and wait until its effects are over, and until the silences in which the step ends are over."""
    before, began_ms = await _find_owners(topic), time.time() * 1000
    await group.apply(kind)
    await asyncio.sleep(run.step_s + 2 * run.pass_s + (SESSION_TIMEOUT_MS / 1000 if kind == "kill" else 0.0))
    ended_ms, after = time.time() * 1000, await _find_owners(topic)
    await asyncio.sleep(_LAST_SILENCE_S + 2 * run.pass_s)
    return Step(kind=kind, began_ms=began_ms, ended_ms=ended_ms, before=before, after=after)


async def _start_group(context: BenchContext, topic: Topics, run: GroupRun, stack: contextlib.AsyncExitStack) -> _Group:
    """Start the replicas, each on a core, and load the model of the replica that joins; `stack` stops them."""
    settings = {
        "delivery": run.delivery,
        "group_protocol": run.protocol,
        "threads": 1,
        "tokenizer_threads": 1,
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        **(_BATCH if run.pass_s else {}),
    }
    available, loaded, gate = list_cores(), *(context.directory / f"{topic.input}-{name}" for name in ("loaded", "join"))
    # A replica leaves only after it has joined, so that the replicas before are the replicas after.
    num_guests = int("join" in run.kinds or "leave" in run.kinds)
    cores = [[available[number % len(available)]] for number in range(NUM_REPLICAS + num_guests)]
    names = [f"{topic.input}-{number}" if run.is_static else "" for number in range(NUM_REPLICAS)]

    def start(first: int, count: int, *gate: Path) -> Awaitable[tuple[Sequence[WorkerProcess], float]]:
        options: dict[str, Any] = {"cores": cores[first:], "instances": names[first:], "first": first}
        program = ["worker.testbed.paced_worker", f"{run.pass_s}", *map(str, gate)]
        return stack.enter_async_context(run_workers(context, topic, settings, num_workers=count, program=program, **options))

    workers, _ = await start(0, NUM_REPLICAS)
    if not num_guests:
        return _Group(workers, None, gate)
    guest = asyncio.ensure_future(start(NUM_REPLICAS, 1, loaded, gate))
    while not (loaded.exists() or guest.done()):  # noqa: ASYNC110  a process sends no event
        await asyncio.sleep(_GATE_INTERVAL_S)
    group = _Group(workers, guest, gate)
    if "join" not in run.kinds:
        await group.apply("join")
    return group


async def _shorten_session(context: BenchContext, topic: Topics, run: GroupRun) -> None:
    """Give a group of the consumer protocol the session timeout that members of the classic protocol choose."""
    if run.protocol == "consumer":
        refusals = await set_group_settings(topic.connection, topic.input, {SESSION_TIMEOUT: SESSION_TIMEOUT_MS})
        for name, reason in refusals.items():
            context.say(f"            {name} is not set: {reason}")


async def _find_owners(topic: Topics) -> dict[int, str]:
    """Return the client id of the owner of each input partition."""
    group = await describe_group(topic.connection, topic.input)
    return {partition.index: member.client_id for member in group.members for partition in member.partitions}
