"""The membership in a consumer group, in two ways: aiokafka's group here, and `protocol_group` for the consumer protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.protocol.commit import OffsetCommitRequest

from worker.broker.client_internals import fetch_committed_with_metadata, get_network_client, observe_responses
from worker.broker.commit_doubt import CommitDoubt
from worker.broker.patches.unanswered_requests import watch_unanswered_requests
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aiokafka import AIOKafkaConsumer
    from aiokafka.structs import OffsetAndMetadata

    from worker.broker.consumer.fetcher import Fetcher
    from worker.broker.consumer.membership import Membership, RefusalDetector
    from worker.broker.membership.group_member import ConsumerGroupMember
    from worker.ports import AssignmentListener


class Group(Protocol):
    """The membership of one started consumer."""

    async def join(self) -> None:
        """Begin to join. Raises `KafkaError` and `TimeoutError`."""

    def check(self) -> None:
        """Raise `BrokerUnavailable` or `ConsumerBroken` if the group refuses the worker."""

    @property
    def member(self) -> ConsumerGroupMember | None:
        """The member of the consumer protocol, or None."""

    def owns(self, partition: TopicPartition) -> bool:
        """Tell whether the worker may read and commit a partition."""

    async def fetch_committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """Return the committed offsets of the partitions that have one. Raises `KafkaError`."""

    @property
    def is_commit_in_doubt(self) -> bool:
        """Whether an earlier commit without an answer may still arrive, and set offsets back."""

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit the offsets of owned partitions, and ignore the others. Raises `KafkaError`."""

    async def leave(self) -> None:
        """Leave the group, unless the stop of the consumer does."""


class ClassicGroup(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The group of aiokafka: each change of the members revokes all partitions of all members."""

    member = None

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        fetcher: Fetcher,
        listener: AssignmentListener,
        *,
        membership: Membership,
        refusals: RefusalDetector,
    ) -> None:
        """Join with the parameters of `membership`. `refusals` receives the responses."""
        self._consumer = consumer
        self._fetcher = fetcher
        self._listener = listener
        self._membership = membership
        self._refusals = refusals
        self._doubt = CommitDoubt()

    @property
    def is_commit_in_doubt(self) -> bool:
        """Whether an earlier commit without an answer may still arrive. aiokafka repeats such a commit on a new connection."""
        return self._doubt.is_open

    async def join(self) -> None:
        """Subscribe. aiokafka joins in the background."""
        self._refusals.refusal = None
        observe_responses(self._consumer, self._refusals.observe)
        watch_unanswered_requests(get_network_client(self._consumer), self._doubt.note, (OffsetCommitRequest,))
        self._consumer.subscribe(self._membership.topics, listener=self)

    def check(self) -> None:
        """Raise the refusal of the group."""
        self._refusals.check()

    def owns(self, partition: TopicPartition) -> bool:
        """Tell whether a partition is assigned."""
        return partition in self._consumer.assignment()

    async def fetch_committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """Return the committed offsets with their metadata."""
        return await fetch_committed_with_metadata(self._consumer, list(partitions))

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit with the current generation. A partition that was revoked must not be part of the commit."""
        if mine := {key: offset for key, offset in offsets.items() if self.owns(key)}:
            await self._consumer.commit(mine)

    async def leave(self) -> None:
        """Do nothing, because aiokafka leaves when the consumer stops."""

    # ── changes of the group ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Wait until the sessions of the partitions have ended."""
        partitions = convert_partitions(revoked)
        if partitions:
            await self._listener.revoked(partitions)
        for partition in partitions:
            self._fetcher.pause(partition)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pause the partitions until their sessions are open. Returns at once, because aiokafka sends no heartbeat meanwhile."""
        try:
            self._consumer.pause(*assigned)
        except IllegalStateError:
            # The partitions were revoked again. aiokafka calls `on_partitions_revoked` next.
            return
        self._listener.assigned(convert_partitions(assigned))


def convert_partitions(partitions: Iterable[TopicPartition]) -> list[Partition]:
    """Return aiokafka's partitions as ours."""
    return [Partition(partition.topic, partition.partition) for partition in partitions]
