"""Hanging transactions in the output topics: the transaction has ended, but a partition has no commit or abort marker (KIP-664).

The coordinator of a transaction writes the marker into each of its partitions. A partition may have no leader at that
moment, because brokers are starting. Kafka 4.3 treats such a partition as deleted and skips it. The next transaction of
the same producer would end the records with its own marker, and aborted records would become visible. Therefore a new
owner looks for them first.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.broker.timeouts import with_timeout
from worker.errors import PublishFailed, describe_error

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from worker.broker.connection.connection import Connection
    from worker.records import Partition

# Bound of one fetch, in milliseconds.
_POLL_MS = 1_000
_LEADERS_TIMEOUT_S, _STOP_TIMEOUT_S = 5.0, 5.0
# How many records at the end of an output partition are read: first a few, then more if none of them has the source.
_NUM_LAST_RECORDS = (100, 10_000)


class HangingTransactions:
    """Reads the ends of the output topics, with and without the records of open transactions."""

    def __init__(self, connection: Connection) -> None:
        """Create the consumers, which connect in `start`."""
        self._connection = connection
        self._uncommitted, self._committed = (
            AIOKafkaConsumer(**connection.options(), isolation_level=level, enable_auto_commit=False, auto_offset_reset="none")
            for level in ("read_uncommitted", "read_committed")
        )
        # One search at a time, because a consumer has one assignment.
        self._lock = asyncio.Lock()

    async def start(self, topics: Collection[str]) -> None:
        """Connect, and learn the leaders of the output topics, so that the first search is fast. Raises `BrokerUnavailable`."""
        await asyncio.gather(*(self._connect(consumer, topics) for consumer in (self._uncommitted, self._committed)))

    async def _connect(self, consumer: AIOKafkaConsumer, topics: Collection[str]) -> None:
        await self._connection.connect(consumer.start())
        # A search repeats the request if it fails here.
        with contextlib.suppress(KafkaError, TimeoutError):
            await with_timeout(_LEADERS_TIMEOUT_S, consumer.end_offsets([TopicPartition(topic, 0) for topic in topics]))

    async def stop(self) -> None:
        """Disconnect, within a bound."""
        stopping = asyncio.gather(self._uncommitted.stop(), self._committed.stop(), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await with_timeout(_STOP_TIMEOUT_S, stopping)

    async def find(self, source: Partition, targets: Collection[Partition], timeout_s: float) -> Mapping[Partition, int]:
        """Return the targets with uncommitted outputs of `source`, each with the source offset of its last such output.

        Some outputs may belong to an open transaction that ends a moment later. Ending them a second time is harmless. Raises
        `PublishFailed`.
        """
        keys = {TopicPartition(target.topic, target.index): target for target in targets}
        try:
            async with asyncio.timeout(timeout_s):
                stable = await self._committed.end_offsets(list(keys))
                ends = await self._uncommitted.end_offsets(list(keys))
                uncertain = {key: (stable[key], ends[key]) for key in keys if stable[key] < ends[key]}
                last = {key: await self._find_last(self._uncommitted, source, key, *bounds) for key, bounds in uncertain.items()}
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the ends of the outputs of {source} cannot be read: {describe_error(error)}") from error
        return {keys[key]: offset for key, offset in last.items() if offset is not None}

    async def find_visible_end(self, source: Partition, targets: Sequence[Partition], offset: int, timeout_s: float) -> int | None:
        """Return the end of the first target if any target has a committed output of `source` from `offset` on, otherwise None.

        Only the last records of each target are read. Raises `PublishFailed`.
        """
        keys = [TopicPartition(target.topic, target.index) for target in targets]
        try:
            async with asyncio.timeout(timeout_s):
                starts, ends = await self._committed.beginning_offsets(keys), await self._committed.end_offsets(keys)
                for num_records, key in itertools.product(_NUM_LAST_RECORDS, keys):
                    first = max(starts[key], ends[key] - num_records)
                    last = await self._find_last(self._committed, source, key, first, ends[key])
                    if last is not None and last >= offset:
                        return int(ends[keys[0]])
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the outputs of {source} cannot be read: {describe_error(error)}") from error
        return None

    async def _find_last(
        self, consumer: AIOKafkaConsumer, source: Partition, key: TopicPartition, first: int, end: int
    ) -> int | None:
        """Return the source offset of the last output of `source` in the offsets from `first` to below `end`."""
        last = None
        async with self._lock:
            consumer.assign([key])
            try:
                consumer.seek(key, first)
                while await consumer.position(key) < end:
                    for record in (await consumer.getmany(key, timeout_ms=_POLL_MS)).get(key, []):
                        if record.offset < end and (offset := _read_source_offset(record, source)) is not None:
                            last = offset
            finally:
                # With an assignment the consumer would continue to fetch.
                consumer.unsubscribe()
        return last


def _read_source_offset(record: ConsumerRecord, source: Partition) -> int | None:
    """Return the source offset of an output of `source`, or None for another record."""
    headers = dict(record.headers)
    if (headers.get("gist-source-topic"), headers.get("gist-source-partition")) != (source.topic.encode(), b"%d" % source.index):
        return None
    return int(headers["gist-source-offset"])
