"""The group by the consumer protocol (KIP-848): aiokafka's consumer has no group of its own.

It is assigned all partitions of the topics once, and the partitions that the member does not own are paused. So a change of the
group does not touch the fetches of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from worker.broker.client_internals import get_network_client
from worker.broker.consumer.group import convert_partitions
from worker.broker.membership.group_member import ConsumerGroupMember
from worker.broker.membership.member_offsets import MemberOffsets
from worker.broker.membership.member_state import Pace
from worker.broker.membership.requests import Subscription, build_metadata, read_topics
from worker.broker.patches.admin_failover import send_to_any_broker
from worker.broker.timeouts import with_timeout
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aiokafka import AIOKafkaConsumer
    from aiokafka.cluster import ClusterMetadata
    from aiokafka.structs import OffsetAndMetadata

    from worker.broker.consumer.fetcher import Fetcher
    from worker.broker.consumer.membership import Membership
    from worker.broker.events import OnEvent
    from worker.ports import AssignmentListener

_METADATA_TIMEOUT_S = 15.0
# The share of the session timeout that a heartbeat may wait for its answer: a heartbeat on a new connection is still in time.
_ANSWER_SHARE = 0.4


class ConsumerProtocolGroup:
    """The group by KIP-848: only the partitions that move are revoked. Implements `GroupListener`."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        fetcher: Fetcher,
        listener: AssignmentListener,
        *,
        membership: Membership,
        rack_id: str | None,
        on_event: OnEvent,
        was_member: bool,
    ) -> None:
        """Join with the parameters of `membership`. The session timeout is a setting of the brokers, or of the group there."""
        self._consumer = consumer
        self._fetcher = fetcher
        self._listener = listener
        self._topics = tuple(membership.topics)
        # The topics of the metadata that aiokafka has received since the start.
        self._existed: set[str] = set()
        subscription = Subscription(
            group_id=membership.group_id,
            topics=self._topics,
            rebalance_timeout_ms=membership.rebalance_timeout_ms,
            rack_id=rack_id,
        )
        self.member = ConsumerGroupMember(
            get_network_client(consumer),
            subscription,
            self,
            on_event,
            instance_id=membership.group_instance_id,
            pace=Pace(interval_s=membership.heartbeat_interval_ms / 1000),
            answer_timeout_s=membership.session_timeout_ms / 1000 * _ANSWER_SHARE,
            was_member=was_member,
        )
        self._offsets = MemberOffsets(self.member, membership.group_id)

    async def join(self) -> None:
        """Assign all partitions of the topics to the consumer, paused, and begin to join."""
        asking = send_to_any_broker(get_network_client(self._consumer), build_metadata(names=self._topics))
        response = await with_timeout(_METADATA_TIMEOUT_S, asking)
        self._hold(TopicPartition(topic.name, index) for topic in read_topics(response) for index in range(topic.num_partitions))
        get_network_client(self._consumer).cluster.add_listener(self._drop_deleted_topics)
        self.member.start()

    def check(self) -> None:
        """Raise the refusal of the group, or the failure of a task."""
        self.member.check()

    def owns(self, partition: TopicPartition) -> bool:
        """Tell whether the member reads or drains a partition."""
        return self.member.owns(partition)

    async def fetch_committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """Return the committed offsets with their metadata."""
        return await self._offsets.fetch(partitions)

    @property
    def is_commit_in_doubt(self) -> bool:
        """Whether an earlier commit without an answer may still arrive."""
        return self._offsets.doubt.is_open

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit with the present epoch of the member."""
        await self._offsets.commit(offsets)

    async def leave(self) -> None:
        """Leave the group within a bound."""
        await self.member.stop()

    # ── changes of the group ─────────────────────────────────────────────────────────────────────────────────────────────────

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Hold new partitions of a topic, and start the sessions."""
        if not self._consumer.assignment().issuperset(partitions):
            self._hold(self._consumer.assignment().union(partitions))
        self._listener.assigned(convert_partitions(partitions))

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Wait until the sessions of the partitions have ended."""
        await self._listener.revoked(convert_partitions(partitions))
        self._pause(partitions)

    async def lost(self, partitions: Collection[TopicPartition]) -> None:
        """End the sessions of the partitions without a drain."""
        self._pause(partitions)
        await self._listener.lost(convert_partitions(partitions))

    def _hold(self, partitions: Iterable[TopicPartition]) -> None:
        """Assign these partitions to the consumer. Those without a session are paused, at a position that is never read."""
        held = list(partitions)
        self._consumer.assign(held)
        for partition in held:
            self._consumer.seek(partition, 0)
        self._consumer.pause(*held)
        self._fetcher.restore()

    def _drop_deleted_topics(self, cluster: ClusterMetadata) -> None:
        """Hold no partitions of deleted topics: aiokafka would search their leaders without a pause."""
        existing = cluster.topics()
        self._existed |= existing
        held, deleted = self._consumer.assignment(), self._existed - existing
        remaining = [partition for partition in held if partition.topic not in deleted or self.owns(partition)]
        if len(remaining) < len(held):
            self._hold(remaining)

    def _pause(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._fetcher.pause(Partition(partition.topic, partition.partition))
            self._consumer.pause(partition)
            # The seek drops the records that were fetched.
            self._consumer.seek(partition, 0)
