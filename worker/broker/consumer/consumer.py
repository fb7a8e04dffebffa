"""One member of the consumer group. It returns records in order and without a gap, even if aiokafka raises exceptions.

A partition that is not polled keeps its buffered records. That is backpressure, and it holds the records of a session
that is not open. aiokafka moves its positions before it returns records. After an exception of a fetch the fetcher
therefore resets all positions.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from worker.broker.admin.client import admin_client
from worker.broker.admin.permissions import Right, build_topic_rights, check_access
from worker.broker.client_internals import get_network_client
from worker.broker.consumer.fetcher import Fetcher
from worker.broker.consumer.group import ClassicGroup
from worker.broker.consumer.membership import Membership, RefusalDetector
from worker.broker.consumer.stall_probe import StallProbe
from worker.broker.consumer.starting_offsets import StartOffsets
from worker.broker.events import BrokerEvent
from worker.broker.log_bounds import read_log_bounds
from worker.broker.timeouts import with_timeout
from worker.errors import ConsumerBroken, PublishFailed, describe_error

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.broker.admin.groups import GroupProtocol
    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.group import Group
    from worker.broker.events import OnEvent
    from worker.broker.membership.group_member import ConsumerGroupMember
    from worker.broker.membership.protocol_choice import GroupProtocolSetting
    from worker.ports import AssignmentListener
    from worker.records import EmptyRange, Partition, Record, UnreadableRange


class Consumer:
    """Implements `worker.ports.Source`, and gives the delivery the positions and commits of the group."""

    # Whether a group of the consumer protocol has accepted the worker.
    _was_member = False

    def __init__(
        self,
        connection: Connection,
        *,
        topics: Sequence[str],
        group_id: str,
        on_event: OnEvent,
        auto_offset_reset: str = "earliest",
        new_topics: Collection[str] = (),
        poll_timeout_ms: int = 200,
        step_timeout_s: float = 15.0,
        look_interval_s: float = 1.0,
        stuck_after_s: float = 15.0,
        client_rack: str | None = None,
        metadata_max_age_ms: int = 30_000,
        group_protocol: GroupProtocolSetting = "classic",
        **membership: Any,
    ) -> None:
        """Set the group and its topics. `auto_offset_reset` is where a partition without a committed offset starts.

        With `latest`, `new_topics` start at their first records. The stall probe asks every `look_interval_s`, and reports a
        partition that has not moved for `stuck_after_s`. Brokers that know racks serve records from a replica in `client_rack`.
        """
        self._connection, self._client_rack = connection, client_rack
        self._membership = Membership(topics=topics, group_id=group_id, **membership)
        self._refusals = RefusalDetector(self._membership)
        self.on_event = on_event
        self._starts = StartOffsets(auto_offset_reset, on_event, new_topics=new_topics)
        self._poll_timeout_ms = poll_timeout_ms
        self._step_timeout_s = step_timeout_s
        self._metadata_max_age_ms = metadata_max_age_ms
        self._group_protocol: GroupProtocolSetting = group_protocol
        # aiokafka's consumer, its reader, and the group; None before `start` and after `stop`.
        self._client: AIOKafkaConsumer | None = None
        self._fetcher: Fetcher | None = None
        self._group: Group | None = None
        self._stall_probe = StallProbe(on_event, interval_s=look_interval_s, limit_s=stuck_after_s)
        # One commit at a time: a second commit could overtake the first and set an offset back.
        self._commit_lock = asyncio.Lock()

    @property
    def rights(self) -> list[Right]:
        """The rights of a member of the group."""
        return [*build_topic_rights(["Read"], self._membership.topics), Right("Read", "group", self._membership.group_id)]

    @property
    def member(self) -> ConsumerGroupMember | None:
        """The member of the consumer protocol, whose id and epoch belong in transactions; None with the classic protocol."""
        return None if self._group is None else self._group.member

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group. Raises `BrokerUnavailable` if no broker answers, if rights are missing, or without the protocol."""
        protocol = await self._choose_protocol()
        client = self._build_client(self._membership.options() if protocol == "classic" else {})
        try:
            await self._connection.connect(client.start())
            await check_access(self._connection, get_network_client(client), self.rights)
            fetcher = Fetcher(client, self._report_fetch_event)
            self._client, self._fetcher, self._group = client, fetcher, self._build_group(protocol, client, fetcher, listener)
            await self._connection.connect(self._group.join())
        except BaseException:
            self._client = self._fetcher = self._group = None
            await _stop_client(client)
            raise

    async def _choose_protocol(self) -> GroupProtocol:
        if self._group_protocol == "classic":
            return "classic"
        from worker.broker.membership.protocol_choice import choose_group_protocol  # noqa: PLC0415  `classic` needs none of this

        async with admin_client(self._connection) as admin:
            chosen = await choose_group_protocol(
                admin,
                self._group_protocol,
                group_id=self._membership.group_id,
                session_timeout_ms=self._membership.session_timeout_ms,
            )
        if chosen.reason:
            self.on_event(BrokerEvent.CLASSIC_PROTOCOL_USED, reason=chosen.reason)
        return chosen.protocol

    def _build_client(self, group: Mapping[str, Any]) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._connection.options(),
            **group,
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

    def _build_group(
        self, protocol: GroupProtocol, client: AIOKafkaConsumer, fetcher: Fetcher, listener: AssignmentListener
    ) -> Group:
        if protocol == "classic":
            return ClassicGroup(client, fetcher, listener, membership=self._membership, refusals=self._refusals)
        from worker.broker.consumer.protocol_group import ConsumerProtocolGroup  # noqa: PLC0415  the same

        return ConsumerProtocolGroup(
            client,
            fetcher,
            listener,
            membership=self._membership,
            rack_id=self._client_rack,
            on_event=self.on_event,
            was_member=self._was_member,
        )

    async def poll(self, partitions: Collection[Partition], *, max_records: int) -> Sequence[Record | UnreadableRange | EmptyRange]:
        """Return the records of these partitions that have arrived, in order and without a gap in each partition.

        Raises `ConsumerBroken`.
        """
        client, fetcher, group = self._require_started()
        group.check()
        self._stall_probe.check(client, fetcher, partitions)
        return await fetcher.poll(partitions, max_records=max_records, timeout_ms=self._poll_timeout_ms)

    async def committed(self, partition: Partition) -> int | None:
        """Return the group's committed offset of a partition, or None. Raises `PublishFailed`."""
        _, _, group = self._require_started()
        key = TopicPartition(partition.topic, partition.index)
        try:
            committed = await with_timeout(self._step_timeout_s, group.fetch_committed([key]))
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the committed offset of {partition} cannot be read: {describe_error(error)}") from error
        return int(committed[key].offset) if key in committed else None

    async def find_start(self, partition: Partition, committed: int | None, *, shows_commits_at_once: bool = False) -> int:
        """Return the offset to read an assigned partition from: `committed`, or where `auto_offset_reset` says.

        If the returned offset differs from `committed`, the caller commits it before it reads. `shows_commits_at_once` tells that
        the group shows each commit at once; it shows that of a transaction a moment after the end. Raises `PublishFailed`.
        """
        client, _, group = self._require_started()
        key = TopicPartition(partition.topic, partition.index)
        try:
            async with asyncio.timeout(self._step_timeout_s):
                # The bounds come first: the client then knows the partitions of the topic.
                log = (await read_log_bounds(client, [key], round(self._step_timeout_s * 1000)))[key]
                await self._starts.learn(client, group, partition.topic)
                if committed is None and shows_commits_at_once:
                    await self._starts.notice_deletion(group, partition.topic)
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the ends of {partition} cannot be read: {describe_error(error)}") from error
        if not group.owns(key):
            raise PublishFailed(f"{partition} is no longer assigned to this worker")
        return self._starts.find(partition, committed, log)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read a partition from `offset`. Raises `PublishFailed` if the partition is no longer assigned."""
        _, fetcher, group = self._require_started()
        if not group.owns(TopicPartition(partition.topic, partition.index)):
            raise PublishFailed(f"{partition} is no longer assigned to this worker")
        try:
            fetcher.seek(partition, offset)
        except KafkaError as error:
            raise PublishFailed(f"{partition} is no longer assigned to this worker: {describe_error(error)}") from error
        self._starts.note_begun(partition)

    def metadata(self, partition: Partition) -> str:
        """Return the metadata to commit with an offset, after `find_start`."""
        return self._starts.metadata(partition.topic)

    @property
    def is_commit_in_doubt(self) -> bool:
        """Whether an earlier commit without an answer may still arrive, and set offsets back."""
        return self._group is not None and self._group.is_commit_in_doubt

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets of assigned partitions. Offsets of other partitions are ignored. Raises `PublishFailed`."""
        _, _, group = self._require_started()
        async with self._commit_lock:
            wanted = {
                TopicPartition(partition.topic, partition.index): OffsetAndMetadata(offset, self.metadata(partition))
                for partition, offset in offsets.items()
            }
            try:
                await with_timeout(self._step_timeout_s, group.commit(wanted))
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
        client, group = self._client, self._group
        self._client = self._fetcher = self._group = None
        self._stall_probe.stop()
        if group is not None:
            await group.leave()
            self._was_member |= group.member is not None and group.member.was_member
        if client is not None:
            await _stop_client(client)

    def _report_fetch_event(self, event: BrokerEvent, **fields: object) -> None:
        # aiokafka raises a refusal of the group out of a fetch. The next poll reports the refusal with advice.
        if not (event is BrokerEvent.FETCH_FAILED and self._refusals.refusal):
            self.on_event(event, **fields)

    def _require_started(self) -> tuple[AIOKafkaConsumer, Fetcher, Group]:
        if self._client is None or self._fetcher is None or self._group is None:
            raise ConsumerBroken("the consumer is not started")
        return self._client, self._fetcher, self._group


async def _stop_client(client: AIOKafkaConsumer) -> None:
    """Stop a client within a bound. aiokafka waits without a bound for brokers that do not answer."""
    try:
        await with_timeout(10, client.stop())
    except (KafkaError, TimeoutError):
        await get_network_client(client).close()
