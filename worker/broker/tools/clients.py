"""Kafka clients for commands, benchmarks and tests: produce records, follow topics, join a group."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.broker.admin.permissions import build_topic_rights
from worker.broker.admin.topics import check_usable
from worker.broker.connection.connection import open_consumer
from worker.broker.patches.early_compression import compress_early
from worker.broker.timeouts import with_timeout
from worker.errors import BadSettings, BrokerUnavailable
from worker.records import Partition, Record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence

    from aiokafka import ConsumerRecord
    from aiokafka.producer.message_accumulator import BatchBuilder

    from worker.broker.connection.connection import Connection
    from worker.records import Headers

# The longest time that a transaction of `open_transaction` may be open, in milliseconds.
_TRANSACTION_TIMEOUT_MS = 300_000
# Bound of the stop of a producer, in seconds.
_CLOSE_TIMEOUT_S = 5.0
# How many sends may wait for their acknowledgements.
_MAX_PENDING = 10_000


@dataclass(slots=True)
class Producer:
    """Sends records and counts the acknowledged ones."""

    _client: AIOKafkaProducer
    # Sends that are not yet acknowledged.
    _pending: set[asyncio.Future[object]] = field(default_factory=set)
    # The first failure of a send, until it is raised.
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
        """Send a record. Returns when there is room for the next one, and raises the failure of an earlier send."""
        self._await_later(
            await self._client.send(topic, value, key=key, headers=list(headers), partition=partition, timestamp_ms=timestamp_ms)
        )
        self.num_sent += 1
        if len(self._pending) >= _MAX_PENDING:
            await self.flush()
        self._raise_failure()

    def build_batch(self, records: Iterable[tuple[bytes, int]]) -> BatchBuilder:
        """Return a compressed batch of values with their timestamps in milliseconds, without keys, for `send_batch`.

        Raises `MessageSizeTooLargeError` if the records exceed the client's `max_batch_size`.
        """
        batch = self._client.create_batch()
        for value, timestamp_ms in records:
            if batch.append(timestamp=timestamp_ms, key=None, value=value) is None:
                raise MessageSizeTooLargeError(f"a batch has no room for {len(value)} bytes more")
        compress_early(batch)
        return batch

    async def send_batch(self, topic: str, batch: BatchBuilder, *, partition: int) -> None:
        """Send a batch that was built in advance. Raises the failure of an earlier send. The batch counts as no sent record."""
        self._await_later(await self._client.send_batch(batch, topic, partition=partition))
        self._raise_failure()

    async def flush(self) -> None:
        """Wait until all records are acknowledged. Raises the failure of a send."""
        if self._pending:
            await asyncio.wait(set(self._pending))
        self._raise_failure()

    def _await_later(self, sent: asyncio.Future[object]) -> None:
        self._pending.add(sent)
        sent.add_done_callback(self._count)

    def _count(self, sent: asyncio.Future[object]) -> None:
        self._pending.discard(sent)
        if sent.cancelled():
            return
        failure = sent.exception()
        self._failure = self._failure or failure
        self.num_acknowledged += failure is None

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


@contextlib.asynccontextmanager
async def open_producer(connection: Connection, *, linger_ms: int = 5, **options: Any) -> AsyncIterator[Producer]:
    """Open a producer. At the end of the block all records are acknowledged.

    If the block fails, sent records are still delivered if the brokers accept them within seconds. Raises `BrokerUnavailable`, and
    `BadSettings` for a record that is too large.
    """
    defaults = {"compression_type": "zstd", "linger_ms": linger_ms, "enable_idempotence": True}
    client = AIOKafkaProducer(**connection.options() | defaults | options)
    try:
        await connection.connect(client.start())
        producer = Producer(client)
        async with client.transaction() if "transactional_id" in options else contextlib.nullcontext():
            yield producer
            await producer.flush()
    except MessageSizeTooLargeError as error:
        raise BadSettings(f"a record is larger than the client or the topic accepts: {error}") from error
    except KafkaError as error:
        raise BrokerUnavailable(f"the records could not be sent to {connection.bootstrap_servers}: {error}") from error
    finally:
        with contextlib.suppress(TimeoutError):
            await with_timeout(_CLOSE_TIMEOUT_S, client.stop())


def open_transaction(connection: Connection, *, name: str) -> contextlib.AbstractAsyncContextManager[Producer]:
    """Open a producer whose records become visible to readers of committed records all at once, at the end of the block.

    The records belong to one transaction with the id `name`. Brokers abort the transaction after five minutes. Raises
    `BrokerUnavailable`, and `BadSettings` for a record that is too large.
    """
    return open_producer(connection, transactional_id=name, transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS)


async def follow(
    connection: Connection, topics: Sequence[str], *, from_beginning: bool, stop: asyncio.Event | None = None
) -> AsyncGenerator[list[Record], None]:
    """Yield the committed records of topics as they arrive, until `stop` is set. Joins no group and commits nothing.

    The first list, possibly empty, comes when all later records are included. Raises `TopicsMissing` and `BrokerUnavailable`.
    """
    found = await check_usable(connection, build_topic_rights(["Read"], topics))
    async with _open_reader(connection, fetch_max_wait_ms=100) as consumer:
        partitions = [TopicPartition(topic, index) for topic, number in found.items() for index in range(number)]
        consumer.assign(partitions)
        await (consumer.seek_to_beginning if from_beginning else consumer.seek_to_end)(*partitions)
        while stop is None or not stop.is_set():
            yield _convert(await consumer.getmany(timeout_ms=200))


async def follow_newest(connection: Connection, topics: Sequence[str], *, num_records: int) -> AsyncGenerator[list[Record], None]:
    """Yield the last `num_records` committed records of each partition, and then further records as they arrive, without an end.

    A reader that is further behind skips the older records. Joins no group and commits nothing. Raises `TopicsMissing` and
    `BrokerUnavailable`.
    """
    found = await check_usable(connection, build_topic_rights(["Read"], topics))
    async with _open_reader(connection, fetch_max_wait_ms=100) as consumer:
        partitions = [TopicPartition(topic, index) for topic, number in found.items() for index in range(number)]
        consumer.assign(partitions)
        first, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, max(first[partition], end[partition] - num_records))
        while True:
            yield _convert(await consumer.getmany(timeout_ms=200))
            for partition in partitions:
                newest = (consumer.last_stable_offset(partition) or 0) - num_records
                if newest > await consumer.position(partition):
                    consumer.seek(partition, newest)


async def read_to_end(connection: Connection, positions: dict[Partition, int]) -> AsyncGenerator[list[Record], None]:
    """Yield the committed records from the positions to the present end, and move the positions. Raises `BrokerUnavailable`."""
    async with _open_reader(connection) as consumer:
        partitions = {TopicPartition(partition.topic, partition.index): partition for partition in positions}
        consumer.assign(list(partitions))
        ends = await consumer.end_offsets(list(partitions))
        for key, partition in partitions.items():
            consumer.seek(key, positions[partition])
        while behind := [key for key, partition in partitions.items() if positions[partition] < ends[key]]:
            fetched = await consumer.getmany(*behind, timeout_ms=200)
            for key in behind:
                positions[partitions[key]] = await consumer.position(key)
            yield _convert(fetched)


def _open_reader(connection: Connection, **options: Any) -> contextlib.AbstractAsyncContextManager[AIOKafkaConsumer]:
    return open_consumer(connection, activity="reading records", isolation_level="read_committed", **options)


@dataclass(slots=True)
class ClientMember:
    """One member of a consumer group that reads records and commits them in turn, as most programs do."""

    _client: AIOKafkaConsumer

    async def take(self, max_records: int, *, timeout_s: float) -> list[Record]:
        """Return `max_records` records, or fewer after `timeout_s`."""
        records: list[Record] = []
        deadline_s = time.monotonic() + timeout_s
        while len(records) < max_records and (left_s := deadline_s - time.monotonic()) > 0:
            fetched = await self._client.getmany(timeout_ms=int(left_s * 1000), max_records=max_records - len(records))
            records += _convert(fetched)
        return records

    async def commit(self) -> None:
        """Commit the offsets after all records that `take` returned."""
        await self._client.commit()


@contextlib.asynccontextmanager
async def join_group(connection: Connection, topic: str, *, group_id: str) -> AsyncIterator[ClientMember]:
    """Join a group that reads a topic from its beginning. Raises `BrokerUnavailable`."""
    activity = f"reading as a member of {group_id}"
    async with open_consumer(connection, topic, activity=activity, group_id=group_id, auto_offset_reset="earliest") as consumer:
        yield ClientMember(consumer)


def _convert(fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[Record]:
    return [
        Record(
            Partition(key.topic, key.partition), record.offset, record.key, record.value, tuple(record.headers), record.timestamp
        )
        for key, records in fetched.items()
        for record in records
    ]
