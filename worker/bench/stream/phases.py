"""The phases of a benchmark with a broker: backlog, offered load, single records.

No consumer reads the outputs during a phase: the metrics of the workers show its end. The outputs are read afterwards; they carry
the timestamp of the input in a header, and the broker's own timestamp.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import orjson

from worker.bench.stream.load_generator import divide_by_window, due_times_s, summarize_latency
from worker.bench.stream.tally import StreamTally
from worker.broker.admin import topics
from worker.broker.tools import clients
from worker.records import OUTPUT_OF_TASK, SPLIT_OUTPUTS, Output, Partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.tally import Answer
    from worker.broker.connection.connection import Connection
    from worker.broker.tools.clients import Producer
    from worker.testbed.worker_process import WorkerProcess

# After this time without progress, missing outputs count as lost.
_SILENCE_TIMEOUT_S = 60.0
# The first second of a load is not measured, because the queues are still filling.
SETTLING_S = 1.0
# The records of a window are one batch for one partition, as a producer sends records without keys that it collects for 5 ms.
_WINDOW_S = 0.005
# The batches of a load are built before its start, at most in this time per record: the sender shares the cores with the worker.
_BUILDING_S_PER_RECORD = 0.0002
_MAX_BATCH_BYTES = 900_000
_STAGES = ("tokenize", "wait", "infer", "encode", "publish")
_SINGLE_INTERVAL_S = 0.03
# Outputs for each input record, unless it becomes a dead letter.
NUM_OUTPUTS = len(OUTPUT_OF_TASK)


class Topics:
    """The topics of one run."""

    def __init__(self, connection: Connection, name: str, *, num_partitions: int) -> None:
        """Derive the names from `name`; `create` creates the topics."""
        self.connection = connection
        self.input = name
        self.num_partitions = num_partitions
        self.tally = StreamTally()
        self._outputs = {f"{name}.{output}": output for output in SPLIT_OUTPUTS}
        # The next offset to read of each output partition.
        self._positions = {Partition(topic, index): 0 for topic in self._outputs for index in range(num_partitions)}

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a worker on these topics."""
        names = {Output.DEAD_LETTERS: "dead_letter_topic"}
        outputs = {names.get(output, f"{output}_topic"): topic for topic, output in self._outputs.items()}
        return {"input_topic": self.input, "output_layout": "split"} | outputs

    async def create(self) -> None:
        """Create the topics: records of the input keep their due time, outputs get the broker's append time."""
        await topics.create_missing(self.connection, {self.input: self.num_partitions})
        await create_output(self.connection, list(self._outputs), num_partitions=self.num_partitions)

    async def send(self, producer: Producer, value: bytes, *, due_ms: int) -> None:
        """Send the next record with its due time as timestamp."""
        number = self.tally.audit.num_produced
        self.tally.audit.num_produced += 1
        partition = number % self.num_partitions
        await producer.send(self.input, value, key=b"%d" % number, partition=partition, timestamp_ms=due_ms)

    async def read_all(self) -> list[Answer]:
        """Read the outputs since the last call and return the answers; ends when none is missing or nothing arrives for long."""
        changed_s, num_accounted, audit = time.monotonic(), -1, self.tally.audit
        while num_accounted < audit.num_accounted or (audit.num_missing and time.monotonic() - changed_s < _SILENCE_TIMEOUT_S):
            if num_accounted < audit.num_accounted:
                changed_s, num_accounted = time.monotonic(), audit.num_accounted
            else:
                await asyncio.sleep(0.2)
            async for records in clients.read_to_end(self.connection, self._positions):
                for record in records:
                    # A worker may read a second topic, whose outputs do not belong to this run.
                    if dict(record.headers)["gist-source-topic"] == self.input.encode():
                        self.tally.note(self._outputs[record.partition.topic], record)
        return self.tally.end_phase()


async def create_output(connection: Connection, names: Sequence[str], *, num_partitions: int) -> None:
    """Create topics whose records get the broker's append time as timestamp."""
    wanted = dict.fromkeys(names, num_partitions)
    await topics.create_missing(connection, wanted, configuration={"message.timestamp.type": "LogAppendTime"})


def build_request(text: str, number: int) -> bytes:
    """Return the value of an input record; a blank text would become a dead letter and is replaced."""
    return orjson.dumps({"id": f"message-{number}", "text": text if text.strip() else "(blank)"})


def build_requests(context: BenchContext, count: int) -> list[bytes]:
    """Return the values of `count` input records from the corpus."""
    return [build_request(context.text(number), number) for number in range(count)]


@contextlib.asynccontextmanager
async def backlog(topic: Topics, values: Sequence[bytes]) -> AsyncIterator[None]:
    """Send a backlog in one transaction, which commits at the end: all records become visible at once."""
    async with clients.open_transaction(topic.connection, name=topic.input) as producer:
        for value in values:
            await topic.send(producer, value, due_ms=int(time.time() * 1000))
        await producer.flush()
        yield


async def wait_until_published(topic: Topics, workers: Sequence[WorkerProcess], *, every_s: float = 1.0) -> dict[str, float]:
    """Return the workers' metrics when all outputs are published, or when nothing has been published for long.

    `every_s` is the interval of the requests; each request costs the workers some processor time.
    """
    changed_s, last = time.monotonic(), -1.0
    while True:
        counters = await read_metrics(workers)
        num_published = count_published(counters)
        if num_published >= topic.tally.audit.num_produced * NUM_OUTPUTS:
            return counters
        if num_published > last:
            changed_s, last = time.monotonic(), num_published
        if time.monotonic() - changed_s > _SILENCE_TIMEOUT_S:
            return counters
        await asyncio.sleep(every_s)


async def read_metrics(workers: Sequence[WorkerProcess]) -> dict[str, float]:
    """Return the sum of each metric over all workers."""
    totals: dict[str, float] = {}
    for worker in workers:
        for name, value in (await worker.metrics()).items():
            totals[name] = totals.get(name, 0.0) + value
    return totals


def count_published(counters: Mapping[str, float]) -> float:
    """Return the number of acknowledged outputs; a dead letter counts as all outputs of its record."""
    return sum(
        value * (NUM_OUTPUTS if "dlq" in name else 1)
        for name, value in counters.items()
        if name.startswith("gist_messages_published_total")
    )


def read_fill_ratio(counters: Mapping[str, float]) -> float:
    """Return the mean share of the token budget that batches used."""
    return counters.get("gist_batch_fill_ratio_sum", 0.0) / max(1.0, counters.get("gist_batch_fill_ratio_count", 0.0))


async def offer_load(
    topic: Topics,
    workers: Sequence[WorkerProcess],
    values: Sequence[bytes],
    *,
    rate_per_s: float,
    phase_s: float,
    seed: int,
) -> dict[str, float]:
    """Offer an open-loop load for `phase_s` seconds; return percentiles of the latency of its records, and rates.

    `answered_per_s` counts to the last answer; `sender_late_ms` is the 99th percentile of the sender's own delay.
    """
    start_s, late_ms = await send_load(topic, values, rate_per_s=rate_per_s, phase_s=phase_s, seed=seed)
    await wait_until_published(topic, workers)
    answers = await topic.read_all()
    settled = [answer.wait_ms for answer in answers if answer.due_ms >= (start_s + SETTLING_S) * 1000]
    seconds = (answers[-1].done_ms / 1000 - start_s) if answers else float("nan")
    return {
        "offered_per_s": len(late_ms) / phase_s,
        "answered_per_s": len(answers) / max(phase_s, seconds),
        "sender_late_ms": float(np.percentile(late_ms, 99)) if late_ms else float("nan"),
        **summarize_latency(settled),
    }


async def send_load(
    topic: Topics, values: Sequence[bytes], *, rate_per_s: float, phase_s: float, seed: int
) -> tuple[float, list[float]]:
    """Send a load for `phase_s` seconds; return its start, and the delay of the sender for each record in milliseconds."""
    windows = divide_by_window(due_times_s(rate_per_s, phase_s, seed=seed), _WINDOW_S)
    late_ms: list[float] = []
    async with clients.open_producer(topic.connection, linger_ms=0, max_batch_size=_MAX_BATCH_BYTES) as producer:
        start_s = time.time() + 0.1 + _BUILDING_S_PER_RECORD * rate_per_s * phase_s
        repeated = itertools.cycle(values)
        batches = [
            producer.build_batch((next(repeated), round((start_s + due) * 1000)) for due in window.tolist()) for window in windows
        ]
        for number, (window, batch) in enumerate(zip(windows, batches, strict=True)):
            due_s = start_s + (window[0] // _WINDOW_S + 1) * _WINDOW_S
            await asyncio.sleep(max(0.0, due_s - time.time()))
            late_ms += ((time.time() - start_s - window) * 1000).tolist()
            topic.tally.audit.num_produced += len(window)
            await producer.send_batch(topic.input, batch, partition=number % topic.num_partitions)
    return start_s, late_ms


async def send_single_records(topic: Topics, workers: Sequence[WorkerProcess], values: Sequence[bytes]) -> dict[str, float]:
    """Send records one at a time to idle workers, and read the time of each stage from the metrics after each record.

    Returns percentiles from the input's timestamp to that of the last output, the median of each stage in milliseconds, and the
    median `inside_ms` of tokenize, wait, infer and encode together.
    """
    stages: list[dict[str, float]] = []
    before = await read_metrics(workers)
    async with clients.open_producer(topic.connection, linger_ms=0) as producer:
        for value in values:
            await topic.send(producer, value, due_ms=round(time.time() * 1000))
            await asyncio.sleep(_SINGLE_INTERVAL_S)
            after = await wait_until_published(topic, workers, every_s=_SINGLE_INTERVAL_S / 3)
            stages.append({name: (_read_stage_s(after, name) - _read_stage_s(before, name)) * 1000 for name in _STAGES})
            before = after
    waits_ms = [float(answer.wait_ms) for answer in await topic.read_all()]
    inside_ms = [stage["tokenize"] + stage["wait"] + stage["infer"] + stage["encode"] for stage in stages]
    stages_ms = {f"{name}_ms": statistics.median(stage[name] for stage in stages) for name in _STAGES}
    return {**summarize_latency(waits_ms), **stages_ms, "inside_ms": statistics.median(inside_ms)}


def _read_stage_s(counters: Mapping[str, float], stage: str) -> float:
    return counters.get(f'gist_stage_duration_seconds_sum{{stage="{stage}"}}', 0.0)
