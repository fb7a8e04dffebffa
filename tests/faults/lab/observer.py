"""Read committed outputs: during the faults, and once more from the beginning at the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.faults.lab.oracle import OUTPUTS
from worker.records import Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.lab.oracle import Oracle

# Records taken at a time.
_MAX_RECORDS = 5_000
_PAUSE_S = 0.2


def map_topics(topic: str, layout: str = "split") -> dict[Output, str]:
    """Return the default output topics of an input topic, for the layout `split` or `enriched`."""
    return {output: f"{topic}.{output}" for output in (OUTPUTS if layout == "split" else (Output.ENRICHED, Output.DEAD_LETTERS))}


def split_value(output: Output, value: bytes | None) -> list[tuple[Output, bytes | None]]:
    """Return a value in the layout `split`: a complete enriched value is three outputs."""
    if output is not Output.ENRICHED:
        return [(output, value)]
    fields = orjson.loads(value or b"{}")
    identity, results = {"id": fields.get("id")}, fields.get("gist", {})
    vector = {name: results.get(name) for name in ("embedding", "dim", "encoding")}
    parts = (vector, {"labels": results.get("labels")}, {"entities": results.get("entities")})
    return [(kind, orjson.dumps(identity | part)) for kind, part in zip(OUTPUTS[:3], parts, strict=True)]


class Reader:
    """Passes the outputs of a topic to an oracle, from the beginning; keeps its own position."""

    def __init__(self, bootstrap_servers: str, topics: Mapping[Output, str], num_partitions: int, oracle: Oracle) -> None:
        """Start at the beginning of all partitions."""
        self._bootstrap_servers = bootstrap_servers
        self._oracle = oracle
        self._places = {TopicPartition(name, i): (output, i) for output, name in topics.items() for i in range(num_partitions)}
        # The next offset to read, by place.
        self._positions = dict.fromkeys(self._places, 0)
        # Outputs read in each second of `time.monotonic`.
        self.arrivals: Counter[int] = Counter()
        # What the client raised: brokers that come and go should not be seen here.
        self.errors: list[str] = []

    async def follow(self, stop: threading.Event) -> None:
        """Read until `stop` is called."""
        client = await self._client()
        try:
            while not stop.is_set():
                await self._take(client)
        finally:
            await client.stop()

    async def read_to_end(self) -> None:
        """Read up to the present last stable offsets."""
        client = await self._client()
        try:
            ends = await client.end_offsets(list(self._places))
            while [place for place in self._places if self._positions[place] < ends[place]]:
                await self._take(client)
                for place in self._places:
                    # Behind the last record may stand a marker, which is no record.
                    self._positions[place] = max(self._positions[place], await client.position(place))
        finally:
            await client.stop()

    async def _client(self) -> AIOKafkaConsumer:
        client = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=100,
            metadata_max_age_ms=5_000,
        )
        await client.start()
        client.assign(list(self._places))
        for place, position in self._positions.items():
            client.seek(place, position)
        return client

    async def _take(self, client: AIOKafkaConsumer) -> None:
        try:
            fetched = await client.getmany(timeout_ms=200, max_records=_MAX_RECORDS)
        except KafkaError as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            # It moves its positions before it hands records out.
            for place, position in self._positions.items():
                client.seek(place, position)
            await asyncio.sleep(_PAUSE_S)
            return
        num_taken = 0
        for place, records in fetched.items():
            output, partition = self._places[place]
            for record in records:
                for kind, value in split_value(output, record.value):
                    self._oracle.note(kind, partition, record.offset, record.key, value, record.headers)
            self._positions[place] = records[-1].offset + 1
            num_taken += len(records)
        if num_taken:
            self.arrivals[int(time.monotonic())] += num_taken


class Observer:
    """A reader in its own thread."""

    def __init__(self, reader: Reader) -> None:
        """Start reading."""
        self.reader = reader
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise the error that ended the reader, if it has ended."""
        if self._error is not None:
            raise AssertionError("the observer has died") from self._error

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self.reader.follow(self._stop))
        except BaseException as error:  # noqa: BLE001  whatever it is, `check` raises it where it is seen
            self._error = error


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of all partitions; no transaction hangs if they agree."""

    #: Output partitions of which something is neither committed nor aborted: its stable end and its end.
    hanging: Mapping[str, tuple[int, int]]
    #: The input's ends, and what the group has committed of it.
    inputs: list[int]
    committed: list[int]


async def fetch_ends(bootstrap_servers: str, topic: str, topics: Mapping[Output, str], num_partitions: int) -> Ends:
    """Return the ends of all partitions, from the brokers."""
    group_id = f"group-{topic}"
    clients = {
        level: AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, group_id=group_id, enable_auto_commit=False, isolation_level=level
        )
        for level in ("read_committed", "read_uncommitted")
    }
    outputs = [TopicPartition(name, i) for name in topics.values() for i in range(num_partitions)]
    inputs = [TopicPartition(topic, i) for i in range(num_partitions)]
    stable, latest = clients.values()
    try:
        for client in clients.values():
            await client.start()
        stable_ends, ends = await stable.end_offsets(outputs), await latest.end_offsets(outputs + inputs)
        committed = [await latest.committed(place) or 0 for place in inputs]
    finally:
        for client in clients.values():
            await client.stop()
    hanging = {
        f"{place.topic}-{place.partition}": (stable_ends[place], ends[place])
        for place in outputs
        if stable_ends[place] != ends[place]
    }
    return Ends(hanging, [ends[place] for place in inputs], committed)
