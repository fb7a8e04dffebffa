"""Reads records through `AIOKafkaConsumer.getmany` without losing any, and isolates a batch that cannot be read.

`getmany` moves the positions before it returns the records. If one partition raises an exception, the records of the
others are lost. An unreadable batch raises at each attempt. A background task that has ended looks like an idle topic.
This module handles all three.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from worker.broker.client_internals import find_dead_task, has_buffered, read_position
from worker.broker.events import BrokerEvent
from worker.errors import ConsumerBroken, OffsetOutOfRange
from worker.records import EmptyRange, Partition, Record, UnreadableRange

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer, ConsumerRecord

    from worker.broker.events import OnEvent

# In place of the partitions of a fetch if none may be read: aiokafka must be polled in any case.
_NO_PARTITION = TopicPartition("", -1)
# A batch that fails this often at one offset is unreadable, and not a fault of the network.
_MAX_ATTEMPTS = 3
# Only a change of the ACLs resolves these errors. The next start of the consumer checks the ACLs.
_DENIALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)
# How many records of a failed partition are read one at a time before it is read normally.
_MAX_SINGLE_RECORDS = 1_000
# The number of records in the first fetch of a partition. After a takeover all partitions are served soon, despite their backlogs.
_FIRST_RECORDS = 8
# Bound of a fetch for records that the broker has, in milliseconds.
_PROBE_TIMEOUT_MS = 2_000
# The first and the longest pause after a failed fetch, in seconds.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.01, 1.0


class Fetcher:
    """Tracks the next offset of each open partition, and reads from there."""

    def __init__(self, consumer: AIOKafkaConsumer, on_event: OnEvent) -> None:
        self._consumer = consumer
        self._on_event = on_event
        # The next expected offset of each open partition.
        self._next: dict[TopicPartition, int] = {}
        # How often each partition was opened. Records that were fetched before the last opening belong to an earlier session.
        self._openings: dict[TopicPartition, int] = {}
        # Partitions that are read alone after an exception, with the number of records to read one at a time. The number is 0 until
        # it is known which partition raised the exception.
        self._suspects: dict[TopicPartition, int] = {}
        # The number of the last turn in which each partition was read, since it was opened.
        self._turns: dict[TopicPartition, int] = {}
        self._num_turns = 0
        # The number of failures of a partition at an offset.
        self._attempts: dict[tuple[TopicPartition, int], int] = {}
        # The number of failures since the last record.
        self._num_failures = 0

    def seek(self, partition: Partition, offset: int) -> None:
        """Read a partition from an offset. Raises aiokafka's `IllegalStateError` if the partition is not assigned."""
        key = TopicPartition(partition.topic, partition.index)
        self._consumer.seek(key, offset)
        self._next[key] = offset
        self._openings[key] = self._openings.get(key, 0) + 1
        self._turns.pop(key, None)
        self._consumer.resume(key)

    def pause(self, partition: Partition) -> None:
        """Return no more records of a partition."""
        self._next.pop(TopicPartition(partition.topic, partition.index), None)

    def lag(self) -> Mapping[Partition, int]:
        """Return the number of records from the next offset to the end of each open partition, as of the last fetch.

        The end is the last stable offset, because records of an open transaction cannot be read yet.
        """
        lags = {}
        for key, offset in self._next.items():
            if key in self._consumer.assignment():
                end = self._consumer.last_stable_offset(key)
                lags[Partition(key.topic, key.partition)] = max(0, (offset if end is None else end) - offset)
        return lags

    @property
    def is_searching(self) -> bool:
        """Whether partitions are read alone, after an exception."""
        return bool(self._suspects)

    def positions(self) -> Mapping[Partition, int]:
        """Return aiokafka's positions in the open partitions.

        They may be past offsets without a record, unlike the next offsets.
        """
        positions = {Partition(key.topic, key.partition): read_position(self._consumer, key) for key in self._next}
        return {partition: position for partition, position in positions.items() if position is not None}

    async def poll(
        self, partitions: Collection[Partition], *, max_records: int, timeout_ms: int
    ) -> Sequence[Record | UnreadableRange | EmptyRange]:
        """Return the records that have arrived. Waits at most `timeout_ms`. Raises `ConsumerBroken`."""
        if task := find_dead_task(self._consumer):
            raise ConsumerBroken(f"the Kafka client's {task} task has died")
        keys = (TopicPartition(partition.topic, partition.index) for partition in partitions)
        wanted = [key for key in keys if key in self._next]
        suspect = next((key for key in self._suspects if key in wanted), None)
        if suspect is not None:
            return await self._poll_suspect(suspect, max_records=max_records)
        records = await self._drain_in_turn(wanted, max_records)
        if any(key not in self._turns for key in wanted):
            max_records = min(max_records, _FIRST_RECORDS)
        return records or await self._drain(wanted, max_records=max_records, timeout_ms=timeout_ms)

    async def _drain_in_turn(self, wanted: Sequence[TopicPartition], max_records: int) -> list[Record | EmptyRange]:
        """Return the buffered records: all of one partition, then all of the next, with the last one served at the end.

        Records of one partition that arrive together share a forward pass and a message batch.
        """
        drained: list[tuple[TopicPartition, int, list[Record | EmptyRange]]] = []
        for key in sorted(wanted, key=lambda key: self._turns.get(key, 0)):
            if max_records <= 0:
                break
            limit = max_records if key in self._turns else min(max_records, _FIRST_RECORDS)
            opening, records = self._openings[key], await self._drain([key], max_records=limit, timeout_ms=0)
            if records:
                self._num_turns += 1
                self._turns[key] = self._num_turns
            drained.append((key, opening, records))
            max_records -= len(records)
        # A rebalance may have closed a partition while another was read. Its next session starts at an offset of its own.
        return [
            record
            for key, opening, records in drained
            if key in self._next and self._openings[key] == opening
            for record in records
        ]

    async def _drain(self, wanted: Sequence[TopicPartition], *, max_records: int, timeout_ms: int) -> list[Record | EmptyRange]:
        """Return fetched records. After a failure all partitions are reset to their next offsets, and `wanted` become suspects."""
        try:
            fetched = await self._consumer.getmany(*(wanted or [_NO_PARTITION]), timeout_ms=timeout_ms, max_records=max_records)
        except OffsetOutOfRangeError as error:
            raise OffsetOutOfRange(f"the log no longer contains the next offset: {error}") from error
        except _DENIALS as error:
            raise ConsumerBroken(f"the worker may no longer read: {error}") from error
        except IllegalStateError:
            # A partition was revoked during the call.
            return []
        except Exception as error:  # noqa: BLE001  no exception of aiokafka may lose the records of other partitions
            self.restore()
            self._suspects = dict.fromkeys(wanted, 0)
            self._on_event(BrokerEvent.FETCH_FAILED, error=f"{type(error).__name__}: {error}")
            await self._pause()
            return []
        records = [record for key, found in fetched.items() for record in self._accept(key, found)]
        return [*records, *(gap for key in wanted if (gap := self._take_gap(key)) is not None)]

    def _accept(self, key: TopicPartition, found: Sequence[ConsumerRecord]) -> list[Record]:
        """Return the records from the next offset on, and move the next offset. Earlier records are redeliveries."""
        if key not in self._next:
            return []
        partition = Partition(key.topic, key.partition)
        records = [_convert(partition, record) for record in found if record.offset >= self._next[key]]
        if records:
            self._num_failures = 0
            self._next[key] = records[-1].next_offset
        return records

    def _take_gap(self, key: TopicPartition) -> EmptyRange | None:
        """Return the offsets without a record that aiokafka has passed after the last record, if there are any.

        aiokafka also moves its position for an error that it has buffered. Such offsets are no gap.
        """
        position = read_position(self._consumer, key)
        if position is None or key not in self._next or position <= self._next[key] or has_buffered(self._consumer, key):
            return None
        gap = EmptyRange(Partition(key.topic, key.partition), self._next[key], position)
        self._next[key] = position
        return gap

    async def _poll_suspect(self, key: TopicPartition, *, max_records: int) -> Sequence[Record | UnreadableRange]:
        """Read one partition alone. If it raised the exception, read record by record up to the unreadable batch."""
        offset, num_single = self._next[key], self._suspects[key]
        try:
            fetched = await self._consumer.getmany(key, timeout_ms=_PROBE_TIMEOUT_MS, max_records=1 if num_single else max_records)
        except OffsetOutOfRangeError as error:
            raise OffsetOutOfRange(f"the log no longer contains the next offset: {error}") from error
        except _DENIALS as error:
            raise ConsumerBroken(f"the worker may no longer read: {error}") from error
        except Exception as error:  # noqa: BLE001  only this partition was requested, so the exception belongs to it
            self.restore()
            self._suspects[key] = _MAX_SINGLE_RECORDS
            self._attempts[key, offset] = self._attempts.get((key, offset), 0) + 1
            if self._attempts[key, offset] < _MAX_ATTEMPTS or _is_transient(error):
                await self._pause()
                return []
            self._attempts.clear()
            return [await self._skip_unreadable(key, offset, error)]
        records = self._accept(key, fetched.get(key, []))
        if num_single > 1 and records:
            self._suspects[key] = num_single - 1
        else:
            del self._suspects[key]
        return records

    async def _skip_unreadable(self, key: TopicPartition, offset: int, error: Exception) -> UnreadableRange:
        """Search the first readable offset above `offset`, continue there, and return the range before it."""
        end = max(offset + 1, self._consumer.highwater(key) or 0)
        unreadable, readable = offset, offset + 1
        step = 1
        while readable < end and not await self._is_readable(key, readable):
            unreadable, step = readable, step * 2
            readable = min(end, readable + step)
        while readable - unreadable > 1:
            middle = (unreadable + readable) // 2
            if await self._is_readable(key, middle):
                readable = middle
            else:
                unreadable = middle
        self._consumer.seek(key, readable)
        self._next[key] = readable
        partition = Partition(key.topic, key.partition)
        self._on_event(BrokerEvent.UNREADABLE_RANGE, partition=str(partition), offset=offset, next_offset=readable)
        return UnreadableRange(partition, offset, readable, type(error).__name__, str(error))

    async def _is_readable(self, key: TopicPartition, offset: int) -> bool:
        self._consumer.seek(key, offset)
        try:
            await self._consumer.getmany(key, timeout_ms=_PROBE_TIMEOUT_MS, max_records=1)
        except Exception as error:
            if _is_transient(error):
                raise ConsumerBroken(f"the search for the end of an unreadable batch was interrupted: {error}") from error
            return False
        return True

    async def _pause(self) -> None:
        """Wait after a failure, longer after each failure without a record in between. Some errors repeat at once."""
        self._num_failures += 1
        await asyncio.sleep(min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._num_failures - 1, 32)))

    def restore(self) -> None:
        """Reset the position of each open partition to its next offset, and read it."""
        for key, offset in self._next.items():
            if key in self._consumer.assignment():
                self._consumer.seek(key, offset)
                self._consumer.resume(key)


def _is_transient(error: Exception) -> bool:
    """Tell a fault of the network or the broker from damaged bytes."""
    return isinstance(error, KafkaError) and not isinstance(error, CorruptRecordException)


def _convert(partition: Partition, record: ConsumerRecord) -> Record:
    timestamp_ms = -1 if record.timestamp is None else record.timestamp
    return Record(partition, record.offset, record.key, record.value, tuple(record.headers), timestamp_ms)
