"""Reading through Kafka's client with suspicion: no record lost to an exception, no partition held up by another's bad batch.

The client's `getmany` moves positions before it hands records out, so an exception for one partition loses what it had drained of
the others; a batch that cannot be read raises for ever; and a fetch task that has died looks like an idle topic. Each has its
answer here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from worker.errors import ConsumerBroken, OffsetOutOfRange
from worker.gaps import EmptyRange
from worker.records import Partition, Record, UnreadableRange

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer, ConsumerRecord


# Asked for when no partition may be read: the poll loop must turn all the same.
_NOBODY = TopicPartition("", -1)
# A batch that fails so often at one place is not a passing fault of the network.
_MAX_ATTEMPTS = 3
# Nobody can read on until somebody allows it again: the next start of the consumer asks whether.
_DENIALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)
# How many records of a partition that failed are read one at a time before it is trusted again.
_MAX_SINGLE_RECORDS = 1_000
# What a partition hands over at first, so that all that were just taken over are soon served, whatever has waited in each.
_FIRST_RECORDS = 8
# How long a probe waits for records that the broker says are there, in milliseconds.
_PROBE_TIMEOUT_MS = 2_000
# The first and the longest pause after a fetch that failed, in seconds.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.01, 1.0


class OnEvent(Protocol):
    """Whom the broker room tells what it noticed: the name of the event and its fields."""

    def __call__(self, event: str, **fields: object) -> None:
        """Return at once."""


class Fetcher:
    """Knows where each open partition stands, and reads on from there and nowhere else."""

    def __init__(self, client: AIOKafkaConsumer, on_event: OnEvent) -> None:
        self._client = client
        self._on_event = on_event
        # The next offset that we expect of each open partition.
        self._next: dict[TopicPartition, int] = {}
        # How often each open partition was opened: what was read before belongs to a session that has ended.
        self._openings: dict[TopicPartition, int] = {}
        # Partitions that are read alone after an exception, each with how many records it is read one at a time: 0 while it is not
        # known whether it was this one.
        self._suspects: dict[TopicPartition, int] = {}
        # When each partition was last read since it was opened: the number of that turn.
        self._turns: dict[TopicPartition, int] = {}
        # Turns so far, over all partitions.
        self._num_turns = 0
        # How often a partition has failed at an offset.
        self._attempts: dict[tuple[TopicPartition, int], int] = {}
        # Failures since the last record.
        self._num_failures = 0

    def open(self, partition: Partition, offset: int) -> None:
        """Read a partition from `offset` on; raises the client's `IllegalStateError` where it is not ours."""
        where = TopicPartition(partition.topic, partition.index)
        self._client.seek(where, offset)
        self._next[where] = offset
        self._openings[where] = self._openings.get(where, 0) + 1
        self._turns.pop(where, None)
        self._client.resume(where)

    def close(self, partition: Partition) -> None:
        """Let nothing more of a partition through."""
        self._next.pop(TopicPartition(partition.topic, partition.index), None)

    def lag(self) -> Mapping[Partition, int]:
        """Return the records between our position and the end of each open partition, as last heard.

        The end is the last stable offset: records of an open transaction do not count, because nobody may read them yet.
        """
        lags = {}
        for where, offset in self._next.items():
            if where in self._client.assignment():
                end = self._client.last_stable_offset(where)
                lags[Partition(where.topic, where.partition)] = max(0, (offset if end is None else end) - offset)
        return lags

    @property
    def is_searching(self) -> bool:
        """Whether partitions are read alone, after an exception."""
        return bool(self._suspects)

    def positions(self) -> Mapping[Partition, int]:
        """Return where the client stands in each open partition: past what holds no record, unlike the next that we expect."""
        positions = {Partition(where.topic, where.partition): self._position(where) for where in self._next}
        return {partition: position for partition, position in positions.items() if position is not None}

    def _position(self, where: TopicPartition) -> int | None:
        """Return where the client stands in a partition, None where the client does not know."""
        subscription = self._client._subscription.subscription  # noqa: SLF001  the public way waits for what is not there
        if subscription is None or subscription.assignment is None or where not in subscription.assignment.tps:
            return None
        state = subscription.assignment.state_value(where)
        return int(state.position) if state.has_valid_position else None

    def _holds(self, where: TopicPartition) -> bool:
        """Tell whether the client holds records or an error of a partition that it has not handed over yet."""
        return where in self._client._fetcher._records  # noqa: SLF001  pinned to 0.14, whose contract test watches this

    async def poll(
        self, partitions: Collection[Partition], *, max_records: int, timeout_ms: int
    ) -> Sequence[Record | UnreadableRange | EmptyRange]:
        """Return what has arrived, waiting no longer than `timeout_ms` for it; raises `ConsumerBroken`."""
        self._check_alive()
        wanted = [where for it in partitions if (where := TopicPartition(it.topic, it.index)) in self._next]
        suspect = next((it for it in self._suspects if it in wanted), None)
        if suspect is not None:
            return await self._poll_suspect(suspect, max_records=max_records)
        records = await self._drain_in_turn(wanted, max_records)
        if any(it not in self._turns for it in wanted):
            max_records = min(max_records, _FIRST_RECORDS)
        return records or await self._drain(wanted, max_records=max_records, timeout_ms=timeout_ms)

    async def _drain_in_turn(self, wanted: Sequence[TopicPartition], max_records: int) -> list[Record | EmptyRange]:
        """Take over what was fetched already: as much as there is of one partition, then of the next, the last served at the end.

        A partition's records that come together go through the model together, and leave in one message batch, not in many.
        """
        drained: list[tuple[TopicPartition, int, list[Record | EmptyRange]]] = []
        for where in sorted(wanted, key=lambda it: self._turns.get(it, 0)):
            if max_records <= 0:
                break
            most = max_records if where in self._turns else min(max_records, _FIRST_RECORDS)
            opening, found = self._openings[where], await self._drain([where], max_records=most, timeout_ms=0)
            if found:
                self._num_turns += 1
                self._turns[where] = self._num_turns
            drained.append((where, opening, found))
            max_records -= len(found)
        # A partition may have changed hands while another was asked: its new session begins at an offset of its own.
        return [it for where, opening, found in drained if where in self._next and self._openings[where] == opening for it in found]

    async def _drain(self, wanted: Sequence[TopicPartition], *, max_records: int, timeout_ms: int) -> list[Record | EmptyRange]:
        """Take over what was fetched; a failure puts every partition back and makes these suspects."""
        try:
            fetched = await self._client.getmany(*(wanted or [_NOBODY]), timeout_ms=timeout_ms, max_records=max_records)
        except OffsetOutOfRangeError as error:
            raise OffsetOutOfRange(f"the log no longer holds our position: {error}") from error
        except _DENIALS as error:
            raise ConsumerBroken(f"we may no longer read: {error}") from error
        except IllegalStateError:
            # A partition was taken away between our question and the answer.
            return []
        except Exception as error:  # noqa: BLE001  whatever the client raises, nothing that it drained may be lost
            self._restore()
            self._suspects = dict.fromkeys(wanted, 0)
            self._on_event("fetch_failed", error=f"{type(error).__name__}: {error}")
            await self._pause()
            return []
        records = [record for where, found in fetched.items() for record in self._accept(where, found)]
        return [*records, *(gap for where in wanted if (gap := self._take_gap(where)) is not None)]

    def _accept(self, where: TopicPartition, found: Sequence[ConsumerRecord]) -> list[Record]:
        """Take over records in order; what lies below our position is a redelivery."""
        if where not in self._next:
            return []
        partition = Partition(where.topic, where.partition)
        records = [_record(partition, it) for it in found if it.offset >= self._next[where]]
        if records:
            self._num_failures = 0
            self._next[where] = records[-1].next_offset
        return records

    def _take_gap(self, where: TopicPartition) -> EmptyRange | None:
        """Return the offsets without a record that the client has passed after the last record, if any.

        The client moves its position before it raises an error, so an error that is still to be raised makes no gap.
        """
        position = self._position(where)
        if position is None or where not in self._next or position <= self._next[where] or self._holds(where):
            return None
        gap = EmptyRange(Partition(where.topic, where.partition), self._next[where], position)
        self._next[where] = position
        return gap

    async def _poll_suspect(self, where: TopicPartition, *, max_records: int) -> Sequence[Record | UnreadableRange]:
        """Read one partition alone; once it is the culprit, record by record: what stands before the bad place is still good."""
        offset, num_single = self._next[where], self._suspects[where]
        try:
            fetched = await self._client.getmany(where, timeout_ms=_PROBE_TIMEOUT_MS, max_records=1 if num_single else max_records)
        except OffsetOutOfRangeError as error:
            raise OffsetOutOfRange(f"the log no longer holds our position: {error}") from error
        except _DENIALS as error:
            raise ConsumerBroken(f"we may no longer read: {error}") from error
        except Exception as error:  # noqa: BLE001  this partition alone was asked for: it is the one
            self._restore()
            self._suspects[where] = _MAX_SINGLE_RECORDS
            self._attempts[where, offset] = self._attempts.get((where, offset), 0) + 1
            if self._attempts[where, offset] < _MAX_ATTEMPTS or _is_passing(error):
                await self._pause()
                return []
            self._attempts.clear()
            return [await self._unreadable(where, offset, error)]
        records = self._accept(where, fetched.get(where, []))
        if num_single > 1 and records:
            self._suspects[where] = num_single - 1
        else:
            del self._suspects[where]
        return records

    async def _unreadable(self, where: TopicPartition, offset: int, error: Exception) -> UnreadableRange:
        """Find where the unreadable batch ends: the first offset above `offset` from which reading works again."""
        end = max(offset + 1, self._client.highwater(where) or 0)
        bad, good = offset, offset + 1
        step = 1
        while good < end and not await self._is_readable(where, good):
            bad, step = good, step * 2
            good = min(end, good + step)
        while good - bad > 1:
            middle = (bad + good) // 2
            if await self._is_readable(where, middle):
                good = middle
            else:
                bad = middle
        self._client.seek(where, good)
        self._next[where] = good
        self._on_event("unreadable_range", partition=f"{where.topic}-{where.partition}", offset=offset, next_offset=good)
        return UnreadableRange(Partition(where.topic, where.partition), offset, good, type(error).__name__, str(error))

    async def _is_readable(self, where: TopicPartition, offset: int) -> bool:
        self._client.seek(where, offset)
        try:
            await self._client.getmany(where, timeout_ms=_PROBE_TIMEOUT_MS, max_records=1)
        except Exception as error:
            if isinstance(error, KafkaError) and not isinstance(error, CorruptRecordException):
                raise ConsumerBroken(f"the search for the end of an unreadable batch was interrupted: {error}") from error
            return False
        return True

    async def _pause(self) -> None:
        """Wait after a failure, longer after each that follows without a record between them: some errors come back at once."""
        self._num_failures += 1
        await asyncio.sleep(min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._num_failures - 1, 32)))

    def _restore(self) -> None:
        """Put every open partition back to where we know that it stands."""
        for where, offset in self._next.items():
            if where in self._client.assignment():
                self._client.seek(where, offset)

    def _check_alive(self) -> None:
        """Notice a background task of the client that has died: nothing else would tell."""
        if self._client._fetcher._fetch_task.done():  # noqa: SLF001  pinned to 0.14, whose contract test watches this
            raise ConsumerBroken("the client's fetch task has died")
        coordinator = self._client._coordinator  # noqa: SLF001  the same
        if coordinator._coordination_task.done():  # noqa: SLF001  the same
            raise ConsumerBroken("the client's coordination task has died")
        heartbeat = coordinator._heartbeat_task  # noqa: SLF001  the same
        # It also ends where we are to join anew, which the client does by itself.
        if heartbeat is not None and heartbeat.done() and not coordinator._rejoin_needed_fut.done():  # noqa: SLF001  the same
            raise ConsumerBroken("the client's heartbeat task has died")


def _is_passing(error: Exception) -> bool:
    """Tell a fault of the network or the broker from one of the bytes."""
    return isinstance(error, KafkaError) and not isinstance(error, CorruptRecordException)


def _record(partition: Partition, it: ConsumerRecord) -> Record:
    return Record(partition, it.offset, it.key, it.value, tuple(it.headers), it.timestamp if it.timestamp is not None else -1)
