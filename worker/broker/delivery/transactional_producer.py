"""One transactional producer of Kafka's client: each step under a deadline, and an eye on what may still arrive late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import InvalidProducerEpoch, KafkaError, NodeNotReadyError, ProducerFenced
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.structs import OffsetAndMetadata

from worker.broker.delivery.batch_producer import BatchProducer
from worker.broker.delivery.stable_offsets import UnstableOffset, fetch_committed_offset
from worker.broker.timeouts import with_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from worker.broker.connection.connection import Connection
    from worker.records import Partition

# What belongs to the transaction that is open when it arrives, not to the one that it was sent for.
_OF_A_TRANSACTION = (ProduceRequest, AddPartitionsToTxnRequest, AddOffsetsToTxnRequest, TxnOffsetCommitRequest, EndTxnRequest)
# Between tries after a passing error, in milliseconds; the client's own default would dominate a short transaction.
_RETRY_BACKOFF_MS = 20


class TransactionalProducer(BatchProducer):
    """Good for one transaction after the other until the first failure, or the first doubt."""

    def __init__(self, connection: Connection, *, transactional_id: str, transaction_timeout_s: float, **options: Any) -> None:
        """Fence, at the start, every producer that has this id; brokers end a transaction that is older than its time."""
        super().__init__(
            connection,
            transactional_id=transactional_id,
            transaction_timeout_ms=round(transaction_timeout_s * 1000),
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            **options,
        )
        # Whether a request was given up that may still arrive: with this epoch it could hit a later transaction.
        self.is_doubtful = False
        self._client.client.send = self._watched(self._client.client.send)

    async def begin(self, timeout_s: float) -> None:
        """Begin a transaction; it costs nothing yet."""
        await with_timeout(timeout_s, self._client.begin_transaction())

    async def send_offset(self, partition: Partition, offset: int, group_id: str, timeout_s: float, *, words: str = "") -> None:
        """Put the offset that the group is to stand at into the transaction, with what is to be remembered beside it."""
        offsets = {TopicPartition(partition.topic, partition.index): OffsetAndMetadata(offset, words)}
        await with_timeout(timeout_s, self._client.send_offsets_to_transaction(offsets, group_id))

    async def commit(self, timeout_s: float) -> None:
        """Make everything of the transaction visible at once."""
        await with_timeout(timeout_s, self._client.commit_transaction())

    async def wait_for_coordinator(self, partition: Partition, group_id: str, timeout_s: float) -> None:
        """Return once the group's coordinator answers with everything that was committed before, and change nothing.

        A coordinator that has just taken over has read all commits, but answers with those alone of which it knows that they are
        replicated, and may be seconds behind. It acknowledges ours after them; then we take it back.
        """
        await self.begin(timeout_s)
        await self.send_offset(partition, 0, group_id, timeout_s)
        await with_timeout(timeout_s, self._client.abort_transaction())

    async def committed_offset_after_fence(
        self,
        partition: Partition,
        group_id: str,
        timeout_s: float,
        *,
        elsewhere: Partition,
        was_committed: Callable[[int | None], Awaitable[int | None]],
    ) -> int | None:
        """Return what the group has committed of a partition, None for nothing, once its coordinator knows all that was.

        It is the broker that acknowledged an offset of ours, as in `await_coordinator`, which is asked. That offset is of another
        partition, `elsewhere`, for one of the same would take the place of one that a broker forgot to commit. Where one hangs,
        `was_committed` tells by the offset before it whether it was; if so it gives the end of `elsewhere`, which is committed too.
        """
        await self.begin(timeout_s)
        await self.send_offset(elsewhere, 0, group_id, timeout_s)
        try:
            committed = await self._committed(partition, group_id, timeout_s)
        except UnstableOffset:
            committed = await self._committed(partition, group_id, timeout_s, require_stable=False)
            end = await was_committed(committed)
            if end is not None:
                await self.send_offset(elsewhere, end, group_id, timeout_s)
                await self.commit(timeout_s)
                return await with_timeout(timeout_s, self._once_stable(partition, group_id, timeout_s))
        await with_timeout(timeout_s, self._client.abort_transaction())
        return committed

    async def _committed(self, partition: Partition, group_id: str, timeout_s: float, *, require_stable: bool = True) -> int | None:
        coordinator = self._client._sender._find_coordinator(CoordinationType.GROUP, group_id)  # noqa: SLF001  whom it just sent to
        node_id = await with_timeout(timeout_s, coordinator)
        return await with_timeout(
            timeout_s, fetch_committed_offset(self._client.client, node_id, group_id, partition, require_stable=require_stable)
        )

    async def _once_stable(self, partition: Partition, group_id: str, timeout_s: float) -> int | None:
        """Return what is committed once the coordinator has the marker, which comes after the answer to a commit."""
        while True:
            try:
                return await self._committed(partition, group_id, timeout_s)
            except UnstableOffset:
                await asyncio.sleep(_RETRY_BACKOFF_MS / 1000)

    async def end(self, places: Collection[Partition], *, is_commit: bool, timeout_s: float) -> None:
        """End what hangs in some partitions, by a transaction without records of its own: its marker ends those before it."""
        await self.begin(timeout_s)
        for it in places:
            self._client._txn_manager.maybe_add_partition_to_txn(TopicPartition(it.topic, it.index))  # noqa: SLF001  no public way
        await with_timeout(timeout_s, self._client.commit_transaction() if is_commit else self._client.abort_transaction())

    def is_fenced(self, error: BaseException) -> bool:
        """Tell whether it was shut out: the client may say so by a state of its own that a later step then stumbles over."""
        return isinstance(error, ProducerFenced | InvalidProducerEpoch) or self._client._txn_manager.is_fatal_error()  # noqa: SLF001

    async def discard(self) -> None:
        """Drop it as it stands; whoever has its id next ends a transaction that is open."""
        await super().discard()
        waiter = self._client._txn_manager.wait_for_transaction_end()  # noqa: SLF001  a failure that nobody asks for is logged as lost
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()

    def _watched(self, send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(node_id: int, request: object, **options: Any) -> Any:
            try:
                return await send(node_id, request, **options)
            except NodeNotReadyError:
                # It was never sent.
                raise
            except KafkaError:
                self.is_doubtful |= isinstance(request, _OF_A_TRANSACTION)
                raise

        return watched
