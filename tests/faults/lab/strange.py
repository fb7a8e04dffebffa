"""Records outside the workload: a scenario writes arbitrary bytes into its own partition, and reads their outputs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.faults.lab.observer import map_topics
from tests.integration.support.reading import committed
from worker.broker.tools.clients import open_producer, read_to_end
from worker.records import Output, Partition
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.faults.lab.lab import Lab
    from worker.broker.connection.connection import Connection
    from worker.records import Headers, Record

RESULTS = frozenset({Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES})
LETTER = frozenset({Output.DEAD_LETTERS})


def good(number: int | str) -> bytes:
    """Return a valid request, whose only entity is the number."""
    return orjson.dumps({"text": f"record {number} between"})


@dataclass(frozen=True, slots=True)
class Came:
    """One output of the partition, and its input offset."""

    output: Output
    offset: int
    record: Record

    @property
    def letter(self) -> dict[str, Any]:
        """The value of the dead letter."""
        content: dict[str, Any] = orjson.loads(self.record.value or b"{}")
        return content


class Strange:
    """The partition after those of the workload, which the oracle ignores."""

    def __init__(self, lab: Lab) -> None:
        """Use a lab with `num_strange` partitions."""
        self.connection = lab.connection
        self.partition = Partition(lab.topic, lab.workload.num_partitions)
        self._group_id = f"group-{lab.topic}"
        self._lab = lab

    async def send(self, *values: bytes | None, key: bytes | None = b"strange", headers: Headers = ()) -> None:
        """Append records."""
        async with open_producer(self.connection) as producer:
            for value in values:
                await producer.send(self.partition.topic, value, key=key, headers=headers, partition=self.partition.index)

    async def done(self, timeout_s: float) -> None:
        """Return once all records of the partition are committed."""
        deadline_s = time.monotonic() + timeout_s
        while (committed := await self.committed()) != (end := await self.end()):
            assert time.monotonic() < deadline_s, f"the strange partition stands at {committed} of {end}"
            await asyncio.sleep(0.2)

    async def end(self) -> int:
        """Return the end offset of the partition."""
        return (await ends(self.connection, [self.partition]))[0]

    async def committed(self) -> int:
        """Return the committed offset of the partition."""
        return (await committed(self.connection, self._group_id, [self.partition]))[0]

    async def came(self) -> list[Came]:
        """Return the present outputs of the partition, in the order of each output topic."""
        topics = {topic: output for output, topic in map_topics(self.partition.topic).items()}
        positions = {Partition(topic, self.partition.index): 0 for topic in topics}
        found = []
        async for records in read_to_end(self.connection, positions):
            for record in records:
                offset = int(read_headers(record.headers)["gist-source-offset"])
                found.append(Came(topics[record.partition.topic], offset, record))
        return found

    async def fates(self) -> dict[int, list[Output]]:
        """Return the outputs of each input offset, in the order of their names, without repetitions of at-least-once delivery."""
        found: dict[int, list[Output]] = {}
        for arrival in await self.came():
            outputs = found.setdefault(arrival.offset, [])
            if self._lab.mode == "exactly_once" or arrival.output not in outputs:
                outputs.append(arrival.output)
        return {offset: sorted(outputs) for offset, outputs in found.items()}

    async def letters(self) -> dict[int, dict[str, Any]]:
        """Return the dead letters by input offset."""
        return {arrival.offset: arrival.letter for arrival in await self.came() if arrival.output is Output.DEAD_LETTERS}


async def until(condition: Callable[[], bool]) -> None:
    """Return once a condition holds; the time limit of the test ends the wait."""
    while not condition():  # noqa: ASYNC110  what is waited for happens in another process
        await asyncio.sleep(0.1)


async def ends(connection: Connection, partitions: Sequence[Partition]) -> list[int]:
    """Return the end offsets of partitions."""
    async with AIOKafkaConsumer(bootstrap_servers=connection.bootstrap_servers) as client:
        places = [TopicPartition(partition.topic, partition.index) for partition in partitions]
        found = await client.end_offsets(places)
        return [found[place] for place in places]


async def commit(connection: Connection, group_id: str, offsets: Mapping[Partition, int]) -> None:
    """Commit offsets of a group without members, as an operator does."""
    async with AIOKafkaConsumer(
        bootstrap_servers=connection.bootstrap_servers, group_id=group_id, enable_auto_commit=False
    ) as client:
        places = {TopicPartition(partition.topic, partition.index): offset for partition, offset in offsets.items()}
        client.assign(list(places))
        await client.commit(places)
