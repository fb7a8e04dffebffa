"""Exactly-once delivery: one transaction makes the outputs of a finished prefix and its input offset visible together.

Each input partition has its own transactional id, independent of the worker that owns it. The producer of a new owner ends the open
transaction of the last owner and fences its producer. The epoch of the producer is the only fence with the classic
group protocol, because brokers accept the offsets of a transaction from any producer. With the consumer protocol the offsets
also name the member. `open` therefore works in this order: fence, wait for the
coordinator's state, read the committed offset, and end hanging transactions. After an error, a timeout or a late
response the state of the transaction is unknown. Then the producer is discarded, and a new producer with a new epoch
continues only from the committed offset.
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
from worker.broker.delivery.output_topics import RECENT_S, LimitedByTopics, OutputTopics
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.broker.events import BrokerEvent
from worker.errors import BrokerUnavailable, PublishFailed, RecordRefused, describe_error

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.consumer import Consumer
    from worker.broker.delivery.batch_producer import RoutedMessage
    from worker.records import Outcome, Output, Partition

# The prefix of all transactional ids, so that one ACL with a prefix allows them.
_PREFIX = "gist-stream"
_CHECK_TIMEOUT_S = 20.0


def build_transactional_right(group_id: str) -> Right:
    """Return the right to commit for a group in transactions."""
    return Right("Write", "transactional ids", f"{_PREFIX}:{group_id}:")


def build_check_id(group_id: str) -> str:
    """Return the transactional id of a check, which no worker has."""
    return f"{_PREFIX}:{group_id}:check"


async def check_transactions(
    connection: Connection, *, group_id: str, transaction_timeout_s: float, allow_old_brokers: bool = False
) -> None:
    """Raise `BrokerUnavailable` with the reason if the brokers are too old or refuse the transactions of this worker."""
    if not allow_old_brokers:
        await require_kafka_4(connection)
    producer = TransactionalProducer(
        connection,
        transactional_id=build_check_id(group_id),
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


class ExactlyOnce(LimitedByTopics):
    """Implements `worker.ports.Delivery`. The transaction that publishes also commits the offset."""

    def __init__(
        self,
        consumer: Consumer,
        connection: Connection,
        *,
        topics: Mapping[str, Mapping[Output, str]],
        group_id: str,
        compression: str | None = "zstd",
        step_timeout_s: float = 30.0,
        transaction_timeout_s: float = 30.0,
        fenced_pause_s: float = 5.0,
        allow_old_brokers: bool = False,
        describe_interval_s: float = 180.0,
    ) -> None:
        """Publish to `topics`, by input topic and output, and commit for `group_id`.

        Each step of a transaction takes at most `step_timeout_s`.

        A partition whose producer was fenced waits `fenced_pause_s` before it fences in turn. The pause is longer than a heartbeat
        interval, so that a worker that lost the partition learns of the loss first. `allow_old_brokers` skips the check of the
        brokers' version. The topics are described every `describe_interval_s`, and before a session opens after a failure.
        """
        super().__init__(connection, OutputTopics(topics, interval_s=describe_interval_s), consumer.on_event)
        self._consumer = consumer
        # None before `start`.
        self._hanging: HangingTransactions | None = None
        self._group_id = group_id
        self._compression = compression
        self._step_timeout_s = step_timeout_s
        self._transaction_timeout_s = transaction_timeout_s
        self._fenced_pause_s = fenced_pause_s
        self._allow_old_brokers = allow_old_brokers
        # The producer of each open partition. A partition has none after a failure, until its next transaction.
        self._producers: dict[Partition, TransactionalProducer] = {}
        # The last known committed offset of each open partition; None if the group has none.
        self._committed: dict[Partition, int | None] = {}
        # Partitions whose last producer was fenced, by a new owner or by the transaction timeout.
        self._fenced: set[Partition] = set()

    async def start(self) -> None:
        """Check the rights and the brokers' transactions, and describe the output topics.

        Raises `BrokerUnavailable` and `TopicsMissing`.
        """
        rights = [*self._outputs.rights(check_read=True), *self._consumer.rights, build_transactional_right(self._group_id)]
        await check_rights(self._connection, rights)
        await check_transactions(
            self._connection,
            group_id=self._group_id,
            transaction_timeout_s=self._transaction_timeout_s,
            allow_old_brokers=self._allow_old_brokers,
        )
        await self._outputs.describe(self._connection, check_read=True)
        self._hanging = HangingTransactions(self._connection)
        await self._hanging.start(self._outputs.max_bytes)
        self._outputs.start(self._connection, on_failure=self._report_not_described)

    async def open(self, partition: Partition) -> int:
        """Fence all earlier producers of a partition, then return its committed offset or its start offset."""
        if partition in self._fenced:
            await asyncio.sleep(self._fenced_pause_s)
            self._fenced.discard(partition)
        await self._outputs.refresh(self._connection)
        await self._drop(partition)
        committed = await self._fence(partition)
        start = await self._consumer.find_start(partition, committed)
        self._committed[partition] = committed
        if start != committed:
            # Without this commit, `latest` would choose a later start after the next failure and skip the records in between.
            await self._transact(partition, (), start)
        return start

    async def forget(self, partition: Partition) -> None:
        """End the work for a partition. Its next owner ends an open transaction."""
        self._committed.pop(partition, None)
        await self._drop(partition)

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish a finished prefix and commit the offset after it. Returns once the transaction is committed."""
        messages = [(outcome, message) for outcome in outcomes for message in outcome.messages]
        routed = [self._outputs.route(partition, message) for _, message in messages]
        next_offset = outcomes[-1].next_offset
        try:
            await self._transact(partition, [routed], next_offset)
        except _PartRefused:
            # Sending one message at a time shows which message the broker refuses.
            try:
                await self._transact(partition, [[message] for message in routed], next_offset)
            except _PartRefused as refusal:
                # The next messages are compared with the present limits of the topics.
                await self._outputs.refresh(self._connection, max_age_s=RECENT_S)
                outcome, message = messages[refusal.number]
                raise RecordRefused(partition, outcome.offset, message.output, str(refusal)) from refusal

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Do nothing, because `publish` commits."""

    async def stop(self) -> None:
        """Disconnect. The caller has ended all publications."""
        await self._outputs.stop()
        await asyncio.gather(*(self._drop(partition) for partition in list(self._producers)))
        if self._hanging is not None:
            await self._hanging.stop()

    async def _transact(self, partition: Partition, parts: Sequence[Sequence[RoutedMessage]], next_offset: int) -> None:
        """Run one transaction. Each part is acknowledged before the next one is sent. Any failure discards the producer."""
        producer = await self._find_producer(partition)
        try:
            await producer.begin(self._step_timeout_s)
            for number, part in enumerate(parts):
                try:
                    await producer.send(part, self._step_timeout_s)
                except REFUSALS as error:
                    raise _PartRefused(number, describe_error(error)) from error
            metadata = self._consumer.metadata(partition)
            await producer.send_offset(
                partition, next_offset, self._group_id, self._step_timeout_s, metadata=metadata, names_member=True
            )
            await producer.commit(self._step_timeout_s)
        except BaseException as error:
            if producer.is_fenced(error):
                self._fenced.add(partition)
            self._outputs.is_doubtful = True
            await self._drop(partition)
            if isinstance(error, _PartRefused) or not isinstance(error, Exception):
                raise
            # After any other error it is unknown whether the transaction was committed.
            raise PublishFailed(f"a transaction of {partition} is in doubt: {describe_error(error)}") from error
        self._committed[partition] = next_offset

    async def _find_producer(self, partition: Partition) -> TransactionalProducer:
        """Return the producer of an open partition, or a new one if no other producer has committed meanwhile."""
        producer = self._producers.get(partition)
        if producer is not None and not producer.is_doubtful:
            return producer
        await self._drop(partition)
        if partition not in self._committed:
            raise PublishFailed(f"{partition} is not open")
        committed = await self._fence(partition)
        if committed != self._committed[partition]:
            await self._drop(partition)
            raise PublishFailed(
                f"the committed offset of {partition} is {committed}, but this worker committed {self._committed[partition]} last"
            )
        return self._producers[partition]

    async def _fence(self, partition: Partition) -> int | None:
        """Start a producer that fences all earlier ones, and return the committed offset, which only this producer can move now."""
        producer = TransactionalProducer(
            self._connection,
            transactional_id=f"{_PREFIX}:{self._group_id}:{partition.topic}:{partition.index}",
            transaction_timeout_s=self._transaction_timeout_s,
            compression=self._compression,
            max_bytes=self._outputs.max_bytes,
            find_member=lambda: self._consumer.member,
        )
        await producer.start(self._step_timeout_s)
        self._producers[partition] = producer
        try:
            committed = await self._read_committed(partition, producer)
            await self._end_hanging(partition, producer, committed or 0)
        except BaseException as error:
            await self._drop(partition)
            self._outputs.is_doubtful = True
            if isinstance(error, PublishFailed) or not isinstance(error, Exception):
                raise
            raise PublishFailed(f"the committed offset of {partition} is uncertain: {describe_error(error)}") from error
        return committed

    async def _read_committed(self, partition: Partition, producer: TransactionalProducer) -> int | None:
        """Return the committed offset. An unstable offset is committed first if its outputs are visible."""
        targets = self._outputs.map_partitions(partition)

        async def find_end(committed: int | None) -> int | None:
            end = await self._get_hanging().find_visible_end(partition, targets, committed or 0, self._step_timeout_s)
            self._on_event(BrokerEvent.OFFSET_HANGS, partition=str(partition), committed=committed, is_commit=end is not None)
            return end

        return await producer.read_committed_after_fence(
            partition, self._group_id, self._step_timeout_s, probe_partition=targets[0], find_end=find_end
        )

    def _get_hanging(self) -> HangingTransactions:
        if self._hanging is None:
            raise PublishFailed("the delivery is not started")
        return self._hanging

    async def _end_hanging(self, partition: Partition, producer: TransactionalProducer, committed: int) -> None:
        """End the hanging transactions of a partition: commit outputs below the committed offset, and abort the others."""
        targets = self._outputs.map_partitions(partition)
        last = await self._get_hanging().find(partition, targets, self._step_timeout_s)
        for is_commit in (True, False):
            if found := [target for target, offset in last.items() if (offset < committed) is is_commit]:
                names = [str(target) for target in found]
                self._on_event(BrokerEvent.OUTPUTS_HANG, partition=str(partition), outputs=names, is_commit=is_commit)
                await producer.end_hanging(found, is_commit=is_commit, timeout_s=self._step_timeout_s)

    async def _drop(self, partition: Partition) -> None:
        producer = self._producers.pop(partition, None)
        if producer is not None:
            await producer.discard()


class _PartRefused(Exception):
    """The broker never accepts this part of a transaction."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
