"""Builds the requests of a member for aiokafka's `AIOKafkaClient.send`, and reads the responses."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from worker.broker.membership import messages
from worker.broker.membership.member_state import JOIN, Heartbeat, HeartbeatAnswer
from worker.broker.message_types import NO_TAGS, FixedVersionRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from worker.broker.membership.member_state import Partitions

_NO_TOPIC_ID = uuid.UUID(int=0)
_UNKNOWN_LEADER_EPOCH = -1
#: The requests with the versions that a broker must offer.
REQUIRED = (messages.ConsumerGroupHeartbeat, messages.OffsetCommit, messages.OffsetFetch, messages.TxnOffsetCommit)


@dataclass(frozen=True, slots=True)
class MemberIdentity:
    """What a commit says about the member."""

    member_id: str
    epoch: int
    instance_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a full heartbeat says about the member."""

    group_id: str
    topics: tuple[str, ...]
    rebalance_timeout_ms: int
    rack_id: str | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic in the metadata of the cluster."""

    name: str
    topic_id: uuid.UUID
    num_partitions: int


def build_heartbeat(subscription: Subscription, member: MemberIdentity, heartbeat: Heartbeat) -> FixedVersionRequest:
    """Return a heartbeat. Fields that have not changed are null."""
    is_full = heartbeat.is_full
    return FixedVersionRequest(
        messages.ConsumerGroupHeartbeat,
        subscription.group_id,
        member.member_id,
        heartbeat.epoch,
        member.instance_id,
        subscription.rack_id if is_full else None,
        subscription.rebalance_timeout_ms if is_full else -1,
        sorted(subscription.topics) if is_full else None,
        None,
        None,
        None if heartbeat.owned is None else _group_by_topic(heartbeat.owned),
    )


def build_probe(group_id: str, topics: Iterable[str]) -> FixedVersionRequest:
    """Return a request to join with an invalid pattern: a group makes all its checks, refuses the pattern, and stays as it is."""
    no_member_has_this_id = str(uuid.uuid4())
    return FixedVersionRequest(
        messages.ConsumerGroupHeartbeat, group_id, no_member_has_this_id, JOIN, None, None, 1, sorted(topics), "(", None, []
    )


def build_leave(group_id: str, member: MemberIdentity) -> FixedVersionRequest:
    """Return the last heartbeat, with the epoch of a leave."""
    no_changes = (None, -1, None, None, None, None)
    return FixedVersionRequest(
        messages.ConsumerGroupHeartbeat, group_id, member.member_id, member.epoch, member.instance_id, *no_changes
    )


def read_heartbeat(response: Any) -> HeartbeatAnswer:
    """Return the answer in the response to a heartbeat."""
    assignment = response.assignment
    target = None if assignment is None else frozenset((topic_id, index) for topic_id, found, _ in assignment[0] for index in found)
    return HeartbeatAnswer(response.error_code, response.member_epoch, response.heartbeat_interval_ms / 1000, target)


def build_commit(group_id: str, member: MemberIdentity, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> FixedVersionRequest:
    """Return the request to commit the offsets."""
    topics = _list_offsets((key.topic, key.partition, offset.offset, offset.metadata) for key, offset in offsets.items())
    return FixedVersionRequest(messages.OffsetCommit, group_id, member.epoch, member.member_id, member.instance_id, topics)


def read_commit_codes(response: Any) -> set[int]:
    """Return the error codes in the response to a commit, in or outside a transaction."""
    return {code for _, partitions, _ in response.topics for _, code, _ in partitions} - {0}


def build_fetch(group_id: str, member: MemberIdentity, partitions: Iterable[TopicPartition]) -> FixedVersionRequest:
    """Return the request for committed offsets that are stable."""
    indexes: dict[str, list[int]] = {}
    for partition in partitions:
        indexes.setdefault(partition.topic, []).append(partition.partition)
    topics = [(topic, found, NO_TAGS) for topic, found in indexes.items()]
    return FixedVersionRequest(messages.OffsetFetch, [(group_id, member.member_id, member.epoch, topics, NO_TAGS)], True)  # noqa: FBT003  require_stable


def read_fetch(response: Any) -> tuple[set[int], dict[TopicPartition, OffsetAndMetadata]]:
    """Return the error codes, and the committed offsets of the partitions that have one."""
    ((_group_id, topics, group_code, _tags),) = response.groups
    codes, committed = {int(group_code)}, {}
    for topic, partitions, _ in topics:
        for index, offset, _leader_epoch, metadata, code, _ in partitions:
            codes.add(int(code))
            if offset >= 0:
                committed[TopicPartition(topic, index)] = OffsetAndMetadata(offset, metadata or "")
    return codes - {0}, committed


def build_transactional_commit(
    transactional_id: str,
    producer: tuple[int, int],
    group_id: str,
    member: MemberIdentity,
    topics: Iterable[tuple[str, Iterable[tuple[int, int, str]]]],
) -> FixedVersionRequest:
    """Return the request to commit offsets in a transaction.

    `producer` is the id and the epoch of the producer. `topics` have partitions with their index, offset and metadata.
    """
    offsets = ((topic, *partition) for topic, partitions in topics for partition in partitions)
    return FixedVersionRequest(
        messages.TxnOffsetCommit,
        transactional_id,
        group_id,
        *producer,
        member.epoch,
        member.member_id,
        member.instance_id,
        _list_offsets(offsets),
    )


def build_metadata(*, names: Collection[str] = (), topic_ids: Collection[uuid.UUID] = ()) -> FixedVersionRequest:
    """Return the request for the ids, the names and the partitions of topics."""
    topics = [(_NO_TOPIC_ID, name, NO_TAGS) for name in names] + [(topic_id, None, NO_TAGS) for topic_id in topic_ids]
    return FixedVersionRequest(messages.Metadata, topics, False, False)  # noqa: FBT003  neither creation nor operations


def read_topics(response: Any) -> list[Topic]:
    """Return the topics that the broker knows."""
    return [
        Topic(name, topic_id, len(partitions))
        for code, name, topic_id, _is_internal, partitions, *_ in response.topics
        if not code and name is not None
    ]


def _group_by_topic(partitions: Partitions) -> list[tuple[uuid.UUID, list[int], dict[int, bytes]]]:
    topics: dict[uuid.UUID, list[int]] = {}
    for topic_id, index in sorted(partitions, key=lambda partition: (partition[0].bytes, partition[1])):
        topics.setdefault(topic_id, []).append(index)
    return [(topic_id, indexes, NO_TAGS) for topic_id, indexes in topics.items()]


def _list_offsets(offsets: Iterable[tuple[str, int, int, str]]) -> Sequence[Any]:
    topics: dict[str, list[tuple[int, int, int, str, dict[int, bytes]]]] = {}
    for topic, index, offset, metadata in offsets:
        topics.setdefault(topic, []).append((index, offset, _UNKNOWN_LEADER_EPOCH, metadata, NO_TAGS))
    return [(topic, partitions, NO_TAGS) for topic, partitions in topics.items()]
