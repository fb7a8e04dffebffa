"""Exactly once: the outputs of a finished prefix and its input offset become visible together, in one transaction, or not at all.

Each input partition has a transactional id of its own, whoever owns it, so that a new owner's producer ends what the last one left
open and shuts it out: the epoch of the producer is the only fence, because the brokers take a transaction's offsets from anybody.
Therefore `open` fences first, then waits until the coordinator answers with all that was committed, reads the offset after, and
ends what a broker forgot to end, offset or outputs. And what is in doubt (an error, a time-out, an answer that was late) is never
mended: the producer is dropped, and a new one, with a new epoch, goes on only from where the group stands.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import TransactionalIdAuthorizationFailed

from worker.broker.admin.broker_versions import require_kafka_4
from worker.broker.admin.permissions import Right, build_refusal
from worker.broker.admin.topics import check_rights
from worker.broker.delivery.batch_producer import REFUSALS
from worker.broker.delivery.hanging_transactions import HangingTransactions
from worker.broker.delivery.output_topics import OutputTopics
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.errors import BrokerUnavailable, PublishFailed, RecordRefused, describe_error

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.consumer import Consumer
    from worker.broker.delivery.batch_producer import RoutedMessage
    from worker.records import Outcome, Output, Partition

# What every transactional id of ours begins with: an administrator may allow them by it.
_PREFIX = "gist-stream"
_CHECK_TIMEOUT_S = 20.0
# How old a description of the output topics may be when a message was refused: many may be refused, one after the other.
_MAX_AGE_S = 5.0


def build_transactional_right(group_id: str) -> Right:
    """Return what the brokers must allow whoever commits for a group in transactions."""
    return Right("Write", "transactional ids", f"{_PREFIX}:{group_id}:")


async def check_transactions(
    connection: Connection, *, group_id: str, transaction_timeout_s: float, allow_old_brokers: bool = False
) -> None:
    """Raise `BrokerUnavailable` where the brokers are too old or refuse transactions like ours, and say why."""
    if not allow_old_brokers:
        await require_kafka_4(connection)
    producer = TransactionalProducer(
        connection,
        transactional_id=f"{_PREFIX}:{group_id}:check",
        transaction_timeout_s=transaction_timeout_s,
        compression=None,
        max_bytes={},
    )
    try:
        await producer.start(_CHECK_TIMEOUT_S)
    except PublishFailed as error:
        if isinstance(error.__cause__, TransactionalIdAuthorizationFailed):
            raise build_refusal(connection, build_transactional_right(group_id)) from error
        raise BrokerUnavailable(f"{connection.bootstrap_servers} refuses transactions: {error}") from error
    await producer.discard()


class ExactlyOnce:
    """Satisfies `worker.ports.Delivery`: the offset is committed inside of the transaction that publishes."""

    def __init__(
        self,
        consumer: Consumer,
        connection: Connection,
        *,
        topics: Mapping[Output, str],
        group_id: str,
        compression: str | None = "zstd",
        step_timeout_s: float = 30.0,
        transaction_timeout_s: float = 30.0,
        fenced_pause_s: float = 5.0,
        allow_old_brokers: bool = False,
        describe_interval_s: float = 180.0,
    ) -> None:
        """Publish to `topics` and commit for `group_id`; no step of a transaction takes longer than `step_timeout_s`.

        A partition that was fenced waits `fenced_pause_s`, longer than a heartbeat, before it fences in turn: who was taken for
        dead learns of it by then. `allow_old_brokers` trusts brokers whose transactions are not safe. The topics are described anew
        every `describe_interval_s`, and before a session opens after a failure.
        """
        self._consumer = consumer
        self._connection = connection
        self._outputs = OutputTopics(topics, interval_s=describe_interval_s)
        # None before the start.
        self._leftovers: HangingTransactions | None = None
        self._group_id = group_id
        self._compression = compression
        self._step_timeout_s = step_timeout_s
        self._transaction_timeout_s = transaction_timeout_s
        self._fenced_pause_s = fenced_pause_s
        self._allow_old_brokers = allow_old_brokers
        # The producer of each open partition; none while the last one is in doubt.
        self._producers: dict[Partition, TransactionalProducer] = {}
        # Where the group stands in each open partition, as far as we know; None where it has committed nothing.
        self._committed: dict[Partition, int | None] = {}
        # Partitions whose last producer was shut out: by a new owner, or by the end of its transaction's time.
        self._fenced: set[Partition] = set()

    async def start(self) -> None:
        """Connect, see that the brokers' transactions are safe, and read what the output topics take."""
        rights = [*self._outputs.rights(check_read=True), *self._consumer.rights, build_transactional_right(self._group_id)]
        await check_rights(self._connection, rights)
        await check_transactions(
            self._connection,
            group_id=self._group_id,
            transaction_timeout_s=self._transaction_timeout_s,
            allow_old_brokers=self._allow_old_brokers,
        )
        await self._outputs.describe(self._connection, check_read=True)
        self._leftovers = HangingTransactions(self._connection)
        await self._leftovers.start()
        self._outputs.start(self._connection, on_failure=self._not_described)

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that this output accepts, less what a batch adds to it."""
        return self._outputs.max_message_bytes(output)

    def needs_key(self, output: Output) -> bool:
        """Tell whether the topic of this output refuses a message without a key."""
        return self._outputs.needs_key(output)

    async def open(self, partition: Partition) -> int:
        """Fence the producer that published for the partition before, then return the committed offset."""
        if partition in self._fenced:
            await asyncio.sleep(self._fenced_pause_s)
            self._fenced.discard(partition)
        await self._outputs.settle(self._connection)
        await self._drop(partition)
        committed = await self._fence(partition)
        start = await self._consumer.find_start(partition, committed)
        self._committed[partition] = committed
        if start != committed:
            # Before anything is read: a start that was not committed would be chosen anew each time, past what came meanwhile.
            await self._transact(partition, (), start)
        return start

    async def forget(self, partition: Partition) -> None:
        """Forget a partition; its next owner ends a transaction that is open."""
        self._committed.pop(partition, None)
        await self._drop(partition)

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish a finished prefix and commit the offset after it; returns once it is certain that both become visible."""
        messages = [(outcome, message) for outcome in outcomes for message in outcome.messages]
        addressed = [self._outputs.addressed(partition, message) for _, message in messages]
        next_offset = outcomes[-1].next_offset
        try:
            await self._transact(partition, [addressed], next_offset)
        except _PartRefused:
            # Which of them it was shows when they are sent one at a time.
            try:
                await self._transact(partition, [[it] for it in addressed], next_offset)
            except _PartRefused as refusal:
                # What comes next is held against what the topics take now.
                await self._outputs.settle(self._connection, max_age_s=_MAX_AGE_S)
                outcome, message = messages[refusal.number]
                raise RecordRefused(partition, outcome.offset, message.output, str(refusal)) from refusal

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Do nothing: what is published is committed."""

    async def stop(self) -> None:
        """Disconnect: nothing is in flight that anybody still waits for."""
        await self._outputs.stop()
        await asyncio.gather(*(self._drop(partition) for partition in list(self._producers)))
        if self._leftovers is not None:
            await self._leftovers.stop()

    async def _transact(self, partition: Partition, parts: Sequence[Sequence[RoutedMessage]], next_offset: int) -> None:
        """Run one transaction over the parts, each acknowledged before the next; any doubt ends the producer."""
        producer = await self._trusted(partition)
        try:
            await producer.begin(self._step_timeout_s)
            for number, part in enumerate(parts):
                try:
                    await producer.send(part, self._step_timeout_s)
                except REFUSALS as error:
                    raise _PartRefused(number, describe_error(error)) from error
            words = self._consumer.metadata(partition)
            await producer.send_offset(partition, next_offset, self._group_id, self._step_timeout_s, words=words)
            await producer.commit(self._step_timeout_s)
        except BaseException as error:
            if producer.is_fenced(error):
                self._fenced.add(partition)
            self._outputs.is_doubtful = True
            await self._drop(partition)
            if isinstance(error, _PartRefused) or not isinstance(error, Exception):
                raise
            # Whatever it is, nobody knows whether the transaction was committed.
            raise PublishFailed(f"a transaction of {partition} is in doubt: {describe_error(error)}") from error
        self._committed[partition] = next_offset

    async def _trusted(self, partition: Partition) -> TransactionalProducer:
        """Return the producer of an open partition, or a new one, where nobody else has committed since ours did."""
        producer = self._producers.get(partition)
        if producer is not None and not producer.is_doubtful:
            return producer
        await self._drop(partition)
        if partition not in self._committed:
            raise PublishFailed(f"{partition} is not open")
        committed = await self._fence(partition)
        if committed != self._committed[partition]:
            await self._drop(partition)
            raise PublishFailed(f"{partition} stands at {committed}, where we had left it at {self._committed[partition]}")
        return self._producers[partition]

    async def _fence(self, partition: Partition) -> int | None:
        """Start the producer that is the only one now, and return the committed offset, which nobody else can move any more."""
        producer = TransactionalProducer(
            self._connection,
            transactional_id=f"{_PREFIX}:{self._group_id}:{partition.topic}:{partition.index}",
            transaction_timeout_s=self._transaction_timeout_s,
            compression=self._compression,
            max_bytes=self._outputs.max_bytes,
        )
        await producer.start(self._step_timeout_s)
        self._producers[partition] = producer
        try:
            committed = await self._settled_offset(partition, producer)
            await self._end_leftovers(partition, producer, committed or 0)
        except BaseException as error:
            await self._drop(partition)
            self._outputs.is_doubtful = True
            if isinstance(error, PublishFailed) or not isinstance(error, Exception):
                raise
            raise PublishFailed(f"the offsets of {partition} cannot be relied upon: {describe_error(error)}") from error
        return committed

    async def _settled_offset(self, partition: Partition, producer: TransactionalProducer) -> int | None:
        """Return the committed offset, be it that a broker forgot to commit it, and outputs behind the one before are visible."""
        places = self._outputs.map_partitions(partition)

        async def was_committed(before: int | None) -> int | None:
            end = await self._reader().visible(partition, places, before or 0, self._step_timeout_s)
            self._consumer.on_event("offset_hangs", partition=str(partition), committed=before, is_commit=end is not None)
            return end

        return await producer.committed_offset_after_fence(
            partition, self._group_id, self._step_timeout_s, elsewhere=places[0], was_committed=was_committed
        )

    def _reader(self) -> HangingTransactions:
        if self._leftovers is None:
            raise PublishFailed("the delivery is not started")
        return self._leftovers

    async def _end_leftovers(self, partition: Partition, producer: TransactionalProducer, committed: int) -> None:
        """End what a broker forgot to end: as committed where the offset was, else as given up."""
        last = await self._reader().of(partition, self._outputs.map_partitions(partition), self._step_timeout_s)
        for is_commit in (True, False):
            if places := [place for place, offset in last.items() if (offset < committed) is is_commit]:
                names = [str(it) for it in places]
                self._consumer.on_event("outputs_hang", partition=str(partition), outputs=names, is_commit=is_commit)
                await producer.end(places, is_commit=is_commit, timeout_s=self._step_timeout_s)

    def _not_described(self, error: Exception) -> None:
        self._consumer.on_event("outputs_not_described", error=describe_error(error))

    async def _drop(self, partition: Partition) -> None:
        producer = self._producers.pop(partition, None)
        if producer is not None:
            await producer.discard()


class _PartRefused(Exception):
    """A broker will never take this part of a transaction."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
