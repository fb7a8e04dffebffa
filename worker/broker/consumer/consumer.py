"""One member of the consumer group. It returns records in order and without a gap, even if aiokafka raises exceptions.

A partition that is not polled keeps its buffered records. That is backpressure, and it holds the records of a session
that is not open. aiokafka moves its positions before it returns records. After an exception of a fetch the fetcher
therefore resets all positions.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from worker.broker.admin.permissions import Right, build_topic_rights, check_access
from worker.broker.client_internals import get_network_client, observe_responses
from worker.broker.consumer.fetcher import Fetcher
from worker.broker.consumer.membership import Membership, RefusalDetector
from worker.broker.consumer.stall_probe import StallProbe
from worker.broker.consumer.starting_offsets import StartOffsets
from worker.broker.events import BrokerEvent
from worker.broker.log_bounds import read_log_bounds
from worker.broker.timeouts import with_timeout
from worker.errors import ConsumerBroken, PublishFailed, describe_error
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.broker.events import OnEvent
    from worker.ports import AssignmentListener
    from worker.records import EmptyRange, Record, UnreadableRange


class Consumer:
    """Implements `worker.ports.Source`, and gives the delivery the positions and commits of the group."""

    def __init__(
        self,
        connection: Connection,
        *,
        topics: Sequence[str],
        group_id: str,
        on_event: OnEvent,
        auto_offset_reset: str = "earliest",
        poll_timeout_ms: int = 200,
        step_timeout_s: float = 15.0,
        look_interval_s: float = 1.0,
        stuck_after_s: float = 15.0,
        client_rack: str | None = None,
        metadata_max_age_ms: int = 30_000,
        **membership: Any,
    ) -> None:
        """Set the group and its topics. `auto_offset_reset` is where a partition without a committed offset starts.

        The stall probe asks every `look_interval_s`, and reports a partition that has not moved for `stuck_after_s`.
        Brokers that know racks serve records from a replica in `client_rack`.
        """
        self._connection = connection
        self._topics = topics
        self._client_rack = client_rack
        self._membership = Membership(topics=topics, group_id=group_id, **membership)
        self._refusals = RefusalDetector(self._membership)
        self.on_event = on_event
        self._starts = StartOffsets(auto_offset_reset, on_event)
        self._poll_timeout_ms = poll_timeout_ms
        self._step_timeout_s = step_timeout_s
        self._metadata_max_age_ms = metadata_max_age_ms
        # aiokafka's consumer and its reader; None before `start` and after `stop`.
        self._client: AIOKafkaConsumer | None = None
        self._fetcher: Fetcher | None = None
        self._stall_probe = StallProbe(on_event, interval_s=look_interval_s, limit_s=stuck_after_s)
        # One commit at a time: a second commit could overtake the first and set an offset back.
        self._commit_lock = asyncio.Lock()

    @property
    def rights(self) -> list[Right]:
        """The rights of a member of the group."""
        return [*build_topic_rights(["Read"], self._topics), Right("Read", "group", self._membership.group_id)]

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group. Raises `BrokerUnavailable` if no broker answers or if rights are missing."""
        client = AIOKafkaConsumer(
            **self._connection.options(),
            **self._membership.options(),
            enable_auto_commit=False,
            # The worker sets every position itself.
            auto_offset_reset="none",
            # Two assignors would mean two JoinGroup requests for each rebalance.
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            isolation_level="read_committed",
            client_rack=self._client_rack,
            # The poll loop never stops, so a long interval between polls does not mean a dead worker.
            max_poll_interval_ms=2_147_483_647,
            fetch_max_wait_ms=100,
            metadata_max_age_ms=self._metadata_max_age_ms,
        )
        try:
            await self._connection.connect(client.start())
            await check_access(self._connection, get_network_client(client), self.rights)
        except BaseException:
            await _stop_client(client)
            raise
        self._refusals.refusal = None
        observe_responses(client, self._refusals.observe)
        self._client = client
        self._fetcher = Fetcher(client, self._report_fetch_event)
        client.subscribe(self._topics, listener=_Listener(client, self._fetcher, listener))

    async def poll(self, partitions: Collection[Partition], *, max_records: int) -> Sequence[Record | UnreadableRange | EmptyRange]:
        """Return the records of these partitions that have arrived, in order and without a gap in each partition.

        Raises `ConsumerBroken`.
        """
        client, fetcher = self._require_started()
        self._refusals.check()
        self._stall_probe.check(client, fetcher, partitions)
        return await fetcher.poll(partitions, max_records=max_records, timeout_ms=self._poll_timeout_ms)

    async def committed(self, partition: Partition) -> int | None:
        """Return the group's committed offset of a partition, or None. Raises `PublishFailed`."""
        client, _ = self._require_started()
        try:
            async with asyncio.timeout(self._step_timeout_s):
                committed: int | None = await client.committed(TopicPartition(partition.topic, partition.index))
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the committed offset of {partition} cannot be read: {describe_error(error)}") from error
        return committed

    async def find_start(self, partition: Partition, committed: int | None) -> int:
        """Return the offset to read an assigned partition from: `committed`, or where `auto_offset_reset` says.

        If the returned offset differs from `committed`, the caller commits it before it reads. Raises `PublishFailed`.
        """
        client, _ = self._require_started()
        key = TopicPartition(partition.topic, partition.index)
        try:
            async with asyncio.timeout(self._step_timeout_s):
                await self._starts.learn(client, partition.topic)
                log = (await read_log_bounds(client, [key], round(self._step_timeout_s * 1000)))[key]
            start = self._starts.find(partition, committed, log)
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the ends of {partition} cannot be read: {describe_error(error)}") from error
        if key not in client.assignment():
            raise PublishFailed(f"{partition} is no longer assigned to this worker")
        return start

    def seek(self, partition: Partition, offset: int) -> None:
        """Read a partition from `offset`. Raises `PublishFailed` if the partition is no longer assigned."""
        _, fetcher = self._require_started()
        try:
            fetcher.seek(partition, offset)
        except KafkaError as error:
            raise PublishFailed(f"{partition} is no longer assigned to this worker: {describe_error(error)}") from error

    def metadata(self, partition: Partition) -> str:
        """Return the metadata to commit with an offset, after `find_start`."""
        return self._starts.metadata(partition.topic)

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets of assigned partitions. Offsets of other partitions are ignored. Raises `PublishFailed`."""
        client, _ = self._require_started()
        async with self._commit_lock:
            assigned = client.assignment()
            wanted = {
                TopicPartition(partition.topic, partition.index): OffsetAndMetadata(offset, self.metadata(partition))
                for partition, offset in offsets.items()
            }
            # aiokafka commits with the current generation, so a partition that was revoked must not be part of the commit.
            mine = {key: offset for key, offset in wanted.items() if key in assigned}
            if not mine:
                return
            try:
                await with_timeout(self._step_timeout_s, client.commit(mine))
            except (KafkaError, TimeoutError) as error:
                raise PublishFailed(f"the offsets could not be committed: {describe_error(error)}") from error

    def pause(self, partition: Partition) -> None:
        """Return no more records of a partition until the next `seek`."""
        if self._fetcher is not None:
            self._fetcher.pause(partition)

    def lag(self) -> Mapping[Partition, int]:
        """Return the number of records from the next offset to the end of each open partition, as of the last fetch."""
        return {} if self._fetcher is None else self._fetcher.lag()

    async def stop(self) -> None:
        """Leave the group, within a bound. Has no effect before `start`."""
        client, self._client, self._fetcher = self._client, None, None
        self._stall_probe.stop()
        if client is not None:
            await _stop_client(client)

    def _report_fetch_event(self, event: BrokerEvent, **fields: object) -> None:
        # aiokafka raises a refusal of the group out of a fetch. The next poll reports the refusal with advice.
        if not (event is BrokerEvent.FETCH_FAILED and self._refusals.refusal):
            self.on_event(event, **fields)

    def _require_started(self) -> tuple[AIOKafkaConsumer, Fetcher]:
        if self._client is None or self._fetcher is None:
            raise ConsumerBroken("the consumer is not started")
        return self._client, self._fetcher


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Translates aiokafka's rebalance callbacks to the listener of the pipeline."""

    def __init__(self, client: AIOKafkaConsumer, fetcher: Fetcher, listener: AssignmentListener) -> None:
        self._client = client
        self._fetcher = fetcher
        self._listener = listener

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Wait until the sessions of the partitions have ended."""
        partitions = [Partition(key.topic, key.partition) for key in revoked]
        if partitions:
            await self._listener.revoked(partitions)
        for partition in partitions:
            self._fetcher.pause(partition)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pause the partitions until their sessions are open. Returns at once, because aiokafka sends no heartbeat meanwhile."""
        try:
            self._client.pause(*assigned)
        except IllegalStateError:
            # The partitions were revoked again. aiokafka calls `on_partitions_revoked` next.
            return
        self._listener.assigned([Partition(key.topic, key.partition) for key in assigned])


async def _stop_client(client: AIOKafkaConsumer) -> None:
    """Stop a client within a bound. aiokafka waits without a bound for brokers that do not answer."""
    try:
        await with_timeout(10, client.stop())
    except (KafkaError, TimeoutError):
        await get_network_client(client).close()
