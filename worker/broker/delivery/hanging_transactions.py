"""What a broker forgot to end in the output topics: records of a transaction that has ended, without the marker that says how.

A transaction's coordinator writes that marker into every partition of it. Where a partition has no leader at that moment, because
brokers are just starting, Kafka (seen in 4.3) takes it for deleted and skips it. Its records hang then, and the next transaction of
the same producer, which is ours, would end them with its own marker: given up, and yet visible. So whoever takes over looks first.
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

# How long one reading may wait for the broker, in milliseconds.
_POLL_MS = 1_000
_STOP_TIMEOUT_S = 5.0
# How many records at the end of a place are looked at: few, and where none of them is ours, the most that may be another's.
_NUM_LOOKED_BACK = (100, 10_000)


class HangingTransactions:
    """Reads what is not yet certain at the ends of the output topics, with clients of its own: it sees what readers must not."""

    def __init__(self, connection: Connection) -> None:
        """Read through `connection`; nothing is opened before `start`."""
        self._connection = connection
        # See everything, and see what is certain.
        self._all, self._certain = (
            AIOKafkaConsumer(**connection.options(), isolation_level=it, enable_auto_commit=False, auto_offset_reset="none")
            for it in ("read_uncommitted", "read_committed")
        )
        # One reading at a time: the client has one assignment.
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises `BrokerUnavailable`."""
        await self._connection.connect(self._all.start())
        await self._connection.connect(self._certain.start())

    async def stop(self) -> None:
        """Disconnect, within a bound."""
        stopping = asyncio.gather(self._all.stop(), self._certain.stop(), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await with_timeout(_STOP_TIMEOUT_S, stopping)

    async def of(self, source: Partition, places: Collection[Partition], timeout_s: float) -> Mapping[Partition, int]:
        """Return the places where outputs of `source` are not yet certain, each with the source offset of the last of them.

        Some may belong to another's transaction, or be certain a moment later: whatever ends them once more does no harm. Raises
        `PublishFailed`.
        """
        wheres = {TopicPartition(it.topic, it.index): it for it in places}
        try:
            async with asyncio.timeout(timeout_s):
                certain = await self._certain.end_offsets(list(wheres))
                ends = await self._all.end_offsets(list(wheres))
                open_ = {where: (certain[where], ends[where]) for where in wheres if certain[where] < ends[where]}
                found = {where: await self._last_of(self._all, source, where, *bounds) for where, bounds in open_.items()}
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the ends of the outputs of {source} cannot be read: {describe_error(error)}") from error
        return {wheres[where]: offset for where, offset in found.items() if offset is not None}

    async def visible(self, source: Partition, places: Sequence[Partition], offset: int, timeout_s: float) -> int | None:
        """Return where the first of the places ends, if outputs of `source` from `offset` on can be seen in any of them, else None.

        Their last records alone are looked at. Raises `PublishFailed`.
        """
        wheres = [TopicPartition(it.topic, it.index) for it in places]
        try:
            async with asyncio.timeout(timeout_s):
                begins, ends = await self._certain.beginning_offsets(wheres), await self._certain.end_offsets(wheres)
                for num_records, where in itertools.product(_NUM_LOOKED_BACK, wheres):
                    first = max(begins[where], ends[where] - num_records)
                    last = await self._last_of(self._certain, source, where, first, ends[where])
                    if last is not None and last >= offset:
                        return int(ends[wheres[0]])
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the outputs of {source} cannot be read: {describe_error(error)}") from error
        return None

    async def _last_of(
        self, client: AIOKafkaConsumer, source: Partition, where: TopicPartition, first: int, end: int
    ) -> int | None:
        """Return the source offset of the last output of `source` from offset `first` to below `end`."""
        last = None
        async with self._lock:
            client.assign([where])
            try:
                client.seek(where, first)
                while await client.position(where) < end:
                    for record in (await client.getmany(where, timeout_ms=_POLL_MS)).get(where, []):
                        if record.offset < end and (offset := _source_offset(record, source)) is not None:
                            last = offset
            finally:
                # Or it would go on fetching what nobody asks for.
                client.unsubscribe()
        return last


def _source_offset(record: ConsumerRecord, source: Partition) -> int | None:
    """Return which record of `source` this is an output of; None where it is none."""
    headers = dict(record.headers)
    if (headers.get("gist-source-topic"), headers.get("gist-source-partition")) != (source.topic.encode(), b"%d" % source.index):
        return None
    return int(headers["gist-source-offset"])
