"""Plain clients for people at a terminal: produce texts, follow topics. The worker itself uses neither."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.broker.admin.permissions import build_topic_rights
from worker.broker.admin.topics import check_usable
from worker.broker.timeouts import with_timeout
from worker.errors import BadSettings, BrokerUnavailable
from worker.records import Partition, Record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from worker.broker.connection.connection import Connection
    from worker.records import Headers

# How long records may be withheld, in milliseconds.
_WITHHELD_MS = 300_000
# How long a producer that closes waits for what it has sent, in seconds.
_CLOSE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Producer:
    """Sends records and counts those that are acknowledged."""

    _client: AIOKafkaProducer
    # Sends that are not yet acknowledged.
    _pending: set[asyncio.Future[object]] = field(default_factory=set)
    # The failure of the first send that failed, until it is raised.
    _failure: BaseException | None = None
    num_sent: int = 0
    num_acknowledged: int = 0

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Send a record; returns once there is room for the next, and raises where an earlier one failed."""
        sent = await self._client.send(topic, value, key=key, headers=list(headers), partition=partition, timestamp_ms=timestamp_ms)
        self._pending.add(sent)
        sent.add_done_callback(self._note)
        self.num_sent += 1
        if len(self._pending) >= 10_000:  # noqa: PLR2004  bounds what waits for the broker
            await self.flush()
        self._raise()

    async def flush(self) -> None:
        """Wait until everything is acknowledged; raises where a send failed."""
        if self._pending:
            await asyncio.wait(set(self._pending))
        self._raise()

    def _note(self, sent: asyncio.Future[object]) -> None:
        self._pending.discard(sent)
        if sent.cancelled():
            return
        failure = sent.exception()
        self._failure = self._failure or failure
        self.num_acknowledged += failure is None

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


@contextlib.asynccontextmanager
async def open_producer(connection: Connection, *, linger_ms: int = 5) -> AsyncIterator[Producer]:
    """Open a producer; everything is acknowledged when it closes. Raises `BrokerUnavailable`, and `BadSettings` for large records.

    Where the block ends early, what was sent is still delivered if the brokers take it within seconds.
    """
    client = AIOKafkaProducer(**connection.options(), enable_idempotence=True, compression_type="zstd", linger_ms=linger_ms)
    try:
        await connection.connect(client.start())
        producer = Producer(client)
        yield producer
        await producer.flush()
    except MessageSizeTooLargeError as error:
        raise BadSettings(f"a record is larger than the client or the topic takes: {error}") from error
    except KafkaError as error:
        raise BrokerUnavailable(f"the records could not be sent to {connection.bootstrap_servers}: {error}") from error
    finally:
        with contextlib.suppress(TimeoutError):
            await with_timeout(_CLOSE_TIMEOUT_S, client.stop())


@contextlib.asynccontextmanager
async def open_transaction(connection: Connection, *, name: str) -> AsyncIterator[Producer]:
    """Open a producer whose records stand in their topics and are seen, all at once, when it closes. Raises `BrokerUnavailable`.

    It is a transaction under the id `name`: whoever reads only what is committed sees nothing before. It closes within minutes, or
    the brokers drop everything.
    """
    client = AIOKafkaProducer(
        **connection.options(), transactional_id=name, transaction_timeout_ms=_WITHHELD_MS, compression_type="zstd", linger_ms=5
    )
    try:
        await connection.connect(client.start())
        async with client.transaction():
            producer = Producer(client)
            yield producer
            await producer.flush()
    except KafkaError as error:
        raise BrokerUnavailable(f"the records could not be sent to {connection.bootstrap_servers}: {error}") from error
    finally:
        await client.stop()


async def follow(
    connection: Connection, topics: Sequence[str], *, from_beginning: bool, stop: asyncio.Event | None = None
) -> AsyncGenerator[list[Record], None]:
    """Yield what is committed to some topics, as it arrives, until `stop` is set; belongs to no group and commits nothing.

    The first list comes once everything that arrives from then on is seen. Raises `TopicsMissing` and `BrokerUnavailable`.
    """
    found = await check_usable(connection, build_topic_rights(["Read"], topics))
    client = AIOKafkaConsumer(
        **connection.options(), isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=100
    )
    try:
        await connection.connect(client.start())
        partitions = [TopicPartition(topic, index) for topic, number in found.items() for index in range(number)]
        client.assign(partitions)
        await (client.seek_to_beginning if from_beginning else client.seek_to_end)(*partitions)
        while stop is None or not stop.is_set():
            yield _records(await client.getmany(timeout_ms=200))
    except KafkaError as error:
        raise BrokerUnavailable(f"{connection.bootstrap_servers} does not give the records: {error}") from error
    finally:
        await client.stop()


async def read_to_end(connection: Connection, positions: dict[Partition, int]) -> AsyncGenerator[list[Record], None]:
    """Yield what stands from some positions on to the present end, and move the positions there. Raises `BrokerUnavailable`."""
    client = AIOKafkaConsumer(**connection.options(), isolation_level="read_committed", enable_auto_commit=False)
    try:
        await connection.connect(client.start())
        places = {TopicPartition(it.topic, it.index): it for it in positions}
        client.assign(list(places))
        ends = await client.end_offsets(list(places))
        for where, partition in places.items():
            client.seek(where, positions[partition])
        while behind := [where for where, partition in places.items() if positions[partition] < ends[where]]:
            fetched = await client.getmany(*behind, timeout_ms=200)
            for where in behind:
                positions[places[where]] = await client.position(where)
            yield _records(fetched)
    except KafkaError as error:
        raise BrokerUnavailable(f"{connection.bootstrap_servers} does not give the records: {error}") from error
    finally:
        await client.stop()


@dataclass(slots=True)
class ClientMember:
    """One member of a consumer group that takes records in turn and commits them: the loop that most programs write."""

    _client: AIOKafkaConsumer

    async def take(self, max_records: int, *, timeout_s: float) -> list[Record]:
        """Return so many records, or those that came in time."""
        records: list[Record] = []
        deadline_s = time.monotonic() + timeout_s
        while len(records) < max_records and (left_s := deadline_s - time.monotonic()) > 0:
            fetched = await self._client.getmany(timeout_ms=int(left_s * 1000), max_records=max_records - len(records))
            records += _records(fetched)
        return records

    async def commit(self) -> None:
        """Commit everything that was taken."""
        await self._client.commit()


@contextlib.asynccontextmanager
async def join_group(connection: Connection, topic: str, *, group_id: str) -> AsyncIterator[ClientMember]:
    """Join a group that reads a topic from its beginning. Raises `BrokerUnavailable`."""
    client = AIOKafkaConsumer(
        topic, **connection.options(), group_id=group_id, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await connection.connect(client.start())
        yield ClientMember(client)
    except KafkaError as error:
        raise BrokerUnavailable(f"{connection.bootstrap_servers} failed a member of {group_id}: {error}") from error
    finally:
        await client.stop()


def _records(fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[Record]:
    return [
        Record(Partition(where.topic, where.partition), it.offset, it.key, it.value, tuple(it.headers), it.timestamp)
        for where, found in fetched.items()
        for it in found
    ]
