"""Numbered records with their expected outputs. Pure, except the producer.

The number of a record determines its id, key, partition, offset and text, and the text determines every output.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from aiokafka import AIOKafkaProducer

from worker.records import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESULTS = (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES)
DIM = 8
NUM_LABELS = 4
# How often a producer that keeps a rate wakes, in seconds.
_TICK_S = 0.05
_MAX_BATCH_BYTES = 200_000


class Poison(StrEnum):
    """A word that makes the model fail on its text."""

    #: The pass raises: the record is one dead letter.
    RAISE = "poison-raise"
    #: The pass runs out of memory: the same.
    MEMORY = "poison-memory"
    #: The vector is not finite: a dead letter for that task, and the other two outputs.
    NAN = "poison-nan"


#: How many embeddings, labels, entities and dead letters must come out for a record.
Fate = tuple[int, int, int, int]
GOOD: Fate = (1, 1, 1, 0)
DEAD: Fate = (0, 0, 0, 1)
_FATES = {None: GOOD, Poison.RAISE: DEAD, Poison.MEMORY: DEAD, Poison.NAN: (0, 1, 1, 1)}
_SIXTEENTHS = [repr(number / 16) for number in range(16)]


@dataclass(frozen=True, slots=True)
class Workload:
    """The produced records: `poison` in some texts at a fixed interval, the partitions in turn."""

    num_partitions: int
    #: Every so manieth record is poisoned; 0: none.
    poison_every: int = 0
    poison: Sequence[Poison] = tuple(Poison)
    #: Whether the outputs are those of the deterministic model; where a real one runs only ids and places are known.
    is_content_known: bool = True

    def text(self, number: int) -> str:
        """Return the text of a record; texts differ, also in length."""
        poison = self.find_poison(number)
        return f"record {number} of many" + " and so on" * (number % 7) + (f" {poison}" if poison else "")

    def find_poison(self, number: int) -> Poison | None:
        """Return the poison of the text, or None."""
        if not self.poison_every or number % self.poison_every != self.poison_every - 1:
            return None
        return self.poison[number // self.poison_every % len(self.poison)]

    def fate(self, number: int) -> Fate:
        """Return the expected outcome of a record."""
        return _FATES[self.find_poison(number)]

    def fates(self, count: int) -> NDArray[np.uint8]:
        """Return the expected outcomes of the first `count` records, shape `[4, count]`."""
        fates = np.repeat(np.array([GOOD], dtype=np.uint8).T, count, axis=1)
        if self.poison_every:
            for number in range(self.poison_every - 1, count, self.poison_every):
                fates[:, number] = self.fate(number)
        return fates

    def value(self, number: int) -> bytes:
        """Return the value of a record."""
        return b'{"id":"r-%d","text":"%s"}' % (number, self.text(number).encode())

    def place(self, number: int) -> tuple[int, int]:
        """Return partition and offset of a record in the input topic."""
        return number % self.num_partitions, number // self.num_partitions

    def expected(self, output: Output, number: int) -> bytes:
        """Return the value of an output of a record, as the worker writes it."""
        text = self.text(number)
        if output is Output.EMBEDDINGS:
            numbers = ",".join([_SIXTEENTHS[nibble] for nibble in _nibbles(text)]).encode()
            return b'{"id":"r-%d","embedding":[%s],"dim":%d,"encoding":"float"}' % (number, numbers, DIM)
        if output is Output.LABELS:
            label = choose_label(text).encode()
            head = b'{"kind":{"label":"%s","score":1.0,"scores":{"%s":1.0}}}' % (label, label)
            return b'{"id":"r-%d","labels":%s}' % (number, head)
        start, end = find_span(text)
        entity = b'{"type":"NUMBER","text":"%d","start":%d,"end":%d,"score":1.0,"task":"ner"}' % (number, start, end)
        return b'{"id":"r-%d","entities":[%s]}' % (number, entity)


def build_vector(text: str) -> NDArray[np.float32]:
    """Return the deterministic vector of a text; every number is a multiple of 1/16, which JSON writes exactly."""
    return np.array(_nibbles(text), dtype=np.float32) / np.float32(16)


def _nibbles(text: str) -> list[int]:
    checksum = zlib.crc32(text.encode())
    return [checksum >> shift & 15 for shift in range(0, 4 * DIM, 4)]


def choose_label(text: str) -> str:
    """Return the label of a text."""
    return f"kind-{zlib.crc32(text.encode()) % NUM_LABELS}"


def find_span(text: str) -> tuple[int, int]:
    """Return start and end of the only entity of a text, its number."""
    start = text.index(" ") + 1
    return start, text.index(" ", start)


class Producing:
    """Sends the records of a workload, in order for each partition and once each: the producer is idempotent."""

    def __init__(self, bootstrap_servers: str, topic: str, workload: Workload) -> None:
        """Send to `topic`; `start` connects."""
        self._topic = topic
        self._workload = workload
        self._client = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=180_000,
            compression_type="zstd",
            max_batch_size=_MAX_BATCH_BYTES,
        )
        # Records that were handed out for sending: the number of the next.
        self.num_produced = 0
        # One call of `produce` at a time keeps the numbers in order.
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._client.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._client.stop()

    async def produce(self, count: int, rate: float | None = None) -> None:
        """Send the next `count` records, at `rate` per second or at once; returns once all are acknowledged."""
        async with self._lock:
            began_s, first, sending = time.monotonic(), self.num_produced, []
            while (done := self.num_produced - first) < count:
                if rate is None:
                    due = count
                else:
                    await asyncio.sleep(_TICK_S)
                    due = min(count, int((time.monotonic() - began_s) * rate))
                # Bounded, so that a million records do not wait in memory.
                due = min(due, done + 20_000)
                sending += await self._send(range(self.num_produced, first + due))
                self.num_produced = first + due
                if rate is None:
                    await asyncio.gather(*sending)
                    sending.clear()
            await asyncio.gather(*sending)

    async def _send(self, numbers: range) -> list[asyncio.Future[object]]:
        sending = []
        for partition in range(self._workload.num_partitions):
            batch = self._client.create_batch()
            step = self._workload.num_partitions
            for number in numbers[(partition - numbers.start) % step :: step]:
                key, value = b"%d" % number, self._workload.value(number)
                if batch.append(timestamp=None, key=key, value=value) is None:
                    batch.close()
                    sending.append(await self._client.send_batch(batch, self._topic, partition=partition))
                    batch = self._client.create_batch()
                    batch.append(timestamp=None, key=key, value=value)
            if batch.record_count():
                batch.close()
                sending.append(await self._client.send_batch(batch, self._topic, partition=partition))
        return sending
