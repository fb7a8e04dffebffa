"""One transactional producer of aiokafka. Each step has a bound, and a request without an answer is noted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from worker.broker.client_internals import (
    add_to_transaction,
    find_group_coordinator,
    has_fatal_error,
    retrieve_transaction_failure,
)
from worker.broker.delivery.batch_producer import BatchProducer
from worker.broker.delivery.stable_offsets import UnstableOffset, fetch_committed_offset
from worker.broker.membership.transactions import commit_as_member
from worker.broker.patches.unanswered_requests import watch_unanswered_requests
from worker.broker.timeouts import with_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from worker.broker.connection.connection import Connection
    from worker.broker.membership.transactions import Member
    from worker.records import Partition

# Interval of retries, in milliseconds. aiokafka's default of 100 ms would take most of the time of a short transaction.
_RETRY_BACKOFF_MS = 20


class TransactionalProducer(BatchProducer):
    """Runs transactions one after the other, until the first failure or the first request without an answer."""

    def __init__(
        self,
        connection: Connection,
        *,
        transactional_id: str,
        transaction_timeout_s: float,
        find_member: Callable[[], Member | None] = lambda: None,
        **options: Any,
    ) -> None:
        """Set the id; `start` fences every producer with the same id. Brokers abort a transaction after `transaction_timeout_s`.

        `find_member` returns the member that `send_offset` names, or None to name no member.
        """
        super().__init__(
            connection,
            transactional_id=transactional_id,
            transaction_timeout_ms=round(transaction_timeout_s * 1000),
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            **options,
        )
        # Whether a request got no answer. It may still arrive and change a later transaction of this epoch.
        self.is_doubtful = False
        # Whether the next offset is a result of the member. Offsets that only probe the coordinator name no member.
        self._names_member = False
        commit_as_member(self._client.client, lambda: find_member() if self._names_member else None)
        watch_unanswered_requests(self._client.client, self.mark_doubtful)

    def mark_doubtful(self) -> None:
        """Note that a request got no answer."""
        self.is_doubtful = True

    async def begin(self, timeout_s: float) -> None:
        """Begin a transaction. No request is sent yet."""
        await with_timeout(timeout_s, self._client.begin_transaction())

    async def send_offset(
        self, partition: Partition, offset: int, group_id: str, timeout_s: float, *, metadata: str = "", names_member: bool = False
    ) -> None:
        """Add the next offset of a group to the transaction, with metadata; `names_member` for the result of a member."""
        self._names_member = names_member
        offsets = {TopicPartition(partition.topic, partition.index): OffsetAndMetadata(offset, metadata)}
        await with_timeout(timeout_s, self._client.send_offsets_to_transaction(offsets, group_id))

    async def commit(self, timeout_s: float) -> None:
        """Commit the transaction."""
        await with_timeout(timeout_s, self._client.commit_transaction())

    async def abort(self, timeout_s: float) -> None:
        """Abort the transaction."""
        await with_timeout(timeout_s, self._client.abort_transaction())

    async def wait_for_coordinator(self, partition: Partition, group_id: str, timeout_s: float) -> None:
        """Return once the group's coordinator reports all earlier commits. The committed offset does not change.

        A new coordinator has read all commits, but it reports only replicated ones and may be seconds late. It acknowledges a new
        offset after all earlier ones. The new offset is then aborted.
        """
        await self.begin(timeout_s)
        await self.send_offset(partition, 0, group_id, timeout_s)
        await with_timeout(timeout_s, self._client.abort_transaction())

    async def read_committed_after_fence(
        self,
        partition: Partition,
        group_id: str,
        timeout_s: float,
        *,
        probe_partition: Partition,
        find_end: Callable[[int | None], Awaitable[int | None]],
    ) -> int | None:
        """Return the committed offset of a group, or None, once the coordinator reports all earlier commits.

        As in `wait_for_coordinator`, the broker that acknowledged a probe offset is asked. The probe uses
        `probe_partition`, because a probe on `partition` would replace a pending offset. If the offset is unstable,
        `find_end` receives the stable offset and returns None to abort the pending offset, or the end of
        `probe_partition` to commit both.
        """
        await self.begin(timeout_s)
        await self.send_offset(probe_partition, 0, group_id, timeout_s)
        try:
            committed = await self._fetch_committed(partition, group_id, timeout_s)
        except UnstableOffset:
            committed = await self._fetch_committed(partition, group_id, timeout_s, require_stable=False)
            end = await find_end(committed)
            if end is not None:
                await self.send_offset(probe_partition, end, group_id, timeout_s)
                await self.commit(timeout_s)
                return await with_timeout(timeout_s, self._wait_until_stable(partition, group_id, timeout_s))
        await with_timeout(timeout_s, self._client.abort_transaction())
        return committed

    async def _fetch_committed(
        self, partition: Partition, group_id: str, timeout_s: float, *, require_stable: bool = True
    ) -> int | None:
        node_id = await with_timeout(timeout_s, find_group_coordinator(self._client, group_id))
        return await with_timeout(
            timeout_s, fetch_committed_offset(self._client.client, node_id, group_id, partition, require_stable=require_stable)
        )

    async def _wait_until_stable(self, partition: Partition, group_id: str, timeout_s: float) -> int | None:
        """Return the committed offset once the coordinator has the marker, which arrives after the response to a commit."""
        while True:
            try:
                return await self._fetch_committed(partition, group_id, timeout_s)
            except UnstableOffset:
                await asyncio.sleep(_RETRY_BACKOFF_MS / 1000)

    async def end_hanging(self, partitions: Collection[Partition], *, is_commit: bool, timeout_s: float) -> None:
        """End the hanging transactions of partitions.

        The marker of a transaction without records also ends the records before it.
        """
        await self.begin(timeout_s)
        for partition in partitions:
            add_to_transaction(self._client, TopicPartition(partition.topic, partition.index))
        await with_timeout(timeout_s, self._client.commit_transaction() if is_commit else self._client.abort_transaction())

    def is_fenced(self, error: BaseException) -> bool:
        """Tell whether another producer fenced this one. aiokafka may raise an `AssertionError` for a fatal state."""
        return isinstance(error, ProducerFenced | InvalidProducerEpoch) or has_fatal_error(self._client)

    async def discard(self) -> None:
        """Close the producer. The next producer with its id ends an open transaction."""
        await super().discard()
        retrieve_transaction_failure(self._client)
