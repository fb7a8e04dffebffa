"""One way to run the workers, from its empty topics to the last answer: the backlog, the offered loads, single messages.

Nobody reads the outputs while something is measured: the worker's own counters say when it is done, and what is read afterwards
carries the input's timestamp in a header and the broker's own timestamp of the output.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import numpy as np
import orjson

from worker.bench.stream.offered import due_times_s, latency
from worker.bench.stream.results import LoadResult, Trickle
from worker.bench.stream.tally import StreamTally
from worker.broker.admin import topics
from worker.broker.tools import clients
from worker.records import OUTPUT_OF_TASK, Output, Partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from worker.bench.stream.tally import Answer
    from worker.broker.connection.connection import Connection
    from worker.broker.tools.clients import Producer
    from worker.testbed.worker_process import WorkerProcess

# Nothing new for so long: what is missing then is lost.
_SILENCE_TIMEOUT_S = 60.0
# The first second of a load is not measured: the queues must find their length first.
SETTLING_S = 1.0
# The sender sends what is due every so often, not message by message: its processor time is taken from the worker's machine.
_SENDER_TICK_S = 0.002
_STAGES = ("tokenize", "wait", "infer", "encode", "publish")
_SINGLE_INTERVAL_S = 0.03
# With each input message as many messages come out, unless one becomes a dead letter.
NUM_OUTPUTS = len(OUTPUT_OF_TASK)


class Topics:
    """The topics of one run: named, made, filled, and read from where the last reading ended."""

    def __init__(self, connection: Connection, name: str, *, num_partitions: int) -> None:
        """Name them after `name`; nothing is made before `create`."""
        self.connection = connection
        self.input = name
        self.num_partitions = num_partitions
        self.tally = StreamTally()
        self._outputs = {f"{name}.{output}": output for output in Output}
        self._positions = {Partition(topic, index): 0 for topic in self._outputs for index in range(num_partitions)}

    @property
    def settings(self) -> dict[str, str]:
        """What a worker must be told to use them."""
        names = {
            Output.EMBEDDINGS: "embeddings",
            Output.LABELS: "labels",
            Output.ENTITIES: "entities",
            Output.DEAD_LETTERS: "dead_letter",
        }
        return {"input_topic": self.input} | {f"{names[output]}_topic": topic for topic, output in self._outputs.items()}

    async def create(self) -> None:
        """Make them: the input keeps the time at which a message was due, the outputs get the time at which the broker has them."""
        await topics.create_missing(self.connection, {self.input: self.num_partitions})
        await create_output(self.connection, list(self._outputs), num_partitions=self.num_partitions)

    async def send(self, producer: Producer, value: bytes, *, due_ms: int) -> None:
        """Send the next message, which was due then."""
        number = self.tally.account.num_produced
        self.tally.account.num_produced += 1
        partition = number % self.num_partitions
        await producer.send(self.input, value, key=b"%d" % number, partition=partition, timestamp_ms=due_ms)

    async def read_all(self) -> list[Answer]:
        """Read what came out since the last time until nothing is missing, or nothing comes for long; return the answers."""
        changed_s, num_accounted = time.monotonic(), -1
        while num_accounted < self.tally.account.num_accounted or (
            self.tally.account.num_missing and time.monotonic() - changed_s < _SILENCE_TIMEOUT_S
        ):
            if num_accounted < self.tally.account.num_accounted:
                changed_s, num_accounted = time.monotonic(), self.tally.account.num_accounted
            else:
                await asyncio.sleep(0.2)
            async for records in clients.read_to_end(self.connection, self._positions):
                for record in records:
                    # What another topic's records brought, which the same worker reads, is not of this run.
                    if dict(record.headers)["gist-source-topic"] == self.input.encode():
                        self.tally.note(self._outputs[record.partition.topic], record)
        return self.tally.end_phase()


async def create_output(connection: Connection, names: Sequence[str], *, num_partitions: int) -> None:
    """Make topics whose records carry the time at which the broker appended them."""
    wanted = dict.fromkeys(names, num_partitions)
    await topics.create_missing(connection, wanted, configuration={"message.timestamp.type": "LogAppendTime"})


def request(text: str, number: int) -> bytes:
    """Return an input message; a corpus has blank lines, which would be dead letters."""
    return orjson.dumps({"id": f"message-{number}", "text": text if text.strip() else "(blank)"})


@contextlib.asynccontextmanager
async def backlog(topic: Topics, values: Sequence[bytes]) -> AsyncIterator[None]:
    """Send a backlog, which nobody sees before the end: then all of it is there at once, and nobody produces any more."""
    async with clients.open_transaction(topic.connection, name=topic.input) as producer:
        for value in values:
            await topic.send(producer, value, due_ms=int(time.time() * 1000))
        await producer.flush()
        yield


async def answered(topic: Topics, workers: Sequence[WorkerProcess], *, every_s: float = 1.0) -> dict[str, float]:
    """Return the workers' counters once they say that everything is published, or once they stand still for long.

    They are asked every so often: each answer takes a little of their time.
    """
    changed_s, last = time.monotonic(), -1.0
    while True:
        counters = await metrics(workers)
        num_published = published(counters)
        if num_published >= topic.tally.account.num_produced * NUM_OUTPUTS:
            return counters
        if num_published > last:
            changed_s, last = time.monotonic(), num_published
        if time.monotonic() - changed_s > _SILENCE_TIMEOUT_S:
            return counters
        await asyncio.sleep(every_s)


async def metrics(workers: Sequence[WorkerProcess]) -> dict[str, float]:
    """Return the sum over all workers of each of their counters."""
    totals: dict[str, float] = {}
    for worker in workers:
        for name, value in (await worker.metrics()).items():
            totals[name] = totals.get(name, 0.0) + value
    return totals


def published(counters: Mapping[str, float]) -> float:
    """Return how many messages are acknowledged; a dead letter stands for all outputs of its record."""
    return sum(
        value * (NUM_OUTPUTS if "dlq" in name else 1)
        for name, value in counters.items()
        if name.startswith("gist_messages_published_total")
    )


def fill_ratio(counters: Mapping[str, float]) -> float:
    """Return how full the batches were, on average."""
    return counters.get("gist_batch_fill_ratio_sum", 0.0) / max(1.0, counters.get("gist_batch_fill_ratio_count", 0.0))


async def offer(
    topic: Topics,
    workers: Sequence[WorkerProcess],
    values: Sequence[bytes],
    *,
    rate_per_s: float,
    share: float,
    phase_s: float,
    seed: int,
) -> LoadResult:
    """Offer a load for so many seconds, in open loop, and return what the messages waited."""
    start_s, late_ms = await send_load(topic, values, rate_per_s=rate_per_s, phase_s=phase_s, seed=seed)
    await answered(topic, workers)
    answers = await topic.read_all()
    settled = [it.wait_ms for it in answers if it.due_ms >= (start_s + SETTLING_S) * 1000]
    seconds = (answers[-1].done_ms / 1000 - start_s) if answers else float("nan")
    return LoadResult(
        share=share,
        offered_per_s=len(late_ms) / phase_s,
        achieved_per_s=len(answers) / max(phase_s, seconds),
        latency=latency(settled),
        sender_late_p99_ms=float(np.percentile(late_ms, 99)) if late_ms else float("nan"),
    )


async def send_load(
    topic: Topics, values: Sequence[bytes], *, rate_per_s: float, phase_s: float, seed: int
) -> tuple[float, list[float]]:
    """Send for so many seconds, whatever becomes of it; return when that began, and how late each message left, in milliseconds."""
    late_ms = []
    async with clients.open_producer(topic.connection, linger_ms=0) as producer:
        start_s = time.time() + 0.1
        for number, due in enumerate(due_times_s(rate_per_s, phase_s, seed=seed)):
            if (left_s := start_s + due - time.time()) > 0:
                await asyncio.sleep(max(left_s, _SENDER_TICK_S))
            late_ms.append((time.time() - start_s - due) * 1000)
            await topic.send(producer, values[number % len(values)], due_ms=round((start_s + due) * 1000))
    return start_s, late_ms


async def trickle(topic: Topics, workers: Sequence[WorkerProcess], values: Sequence[bytes]) -> Trickle:
    """Send single messages to idle workers, each once the last was answered, and look at the steps' clocks after each."""
    steps: list[dict[str, float]] = []
    before = await metrics(workers)
    async with clients.open_producer(topic.connection, linger_ms=0) as producer:
        for value in values:
            await topic.send(producer, value, due_ms=round(time.time() * 1000))
            await asyncio.sleep(_SINGLE_INTERVAL_S)
            after = await answered(topic, workers, every_s=_SINGLE_INTERVAL_S / 3)
            steps.append({name: (_stage_s(after, name) - _stage_s(before, name)) * 1000 for name in _STAGES})
            before = after
    waits = [float(it.wait_ms) for it in await topic.read_all()]
    inside = [it["tokenize"] + it["wait"] + it["infer"] + it["encode"] for it in steps]
    stages_ms = {name: latency([it[name] for it in steps]).p50_ms for name in _STAGES}
    return Trickle(latency(waits), stages_ms, latency(inside).p50_ms)


def _stage_s(counters: Mapping[str, float], stage: str) -> float:
    return counters.get(f'gist_stage_duration_seconds_sum{{stage="{stage}"}}', 0.0)
