"""The offsets of a consumer group in a topic: committed offsets, bounds of the logs, and owners of the partitions.

All functions but `commit_offsets` change nothing and join no group. Brokers refuse `commit_offsets` while the group has members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

from worker.broker.admin.client import admin_client
from worker.broker.admin.groups import describe_group_with, retry_while_loading
from worker.broker.admin.permissions import Right, build_topic_rights, check_access
from worker.broker.admin.topics import build_missing, check_usable, count_existing_partitions
from worker.broker.client_internals import get_network_client
from worker.broker.connection.connection import open_consumer
from worker.broker.log_bounds import LogBounds, read_log_bounds
from worker.errors import BadSettings, TopicsMissing
from worker.records import Partition

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Collection, Mapping, Sequence
    from typing import Literal, TypeAlias

    from aiokafka import AIOKafkaConsumer
    from aiokafka.admin import AIOKafkaAdminClient

    from worker.broker.admin.groups import GroupDescription, GroupMember
    from worker.broker.connection.connection import Connection

    _Operation: TypeAlias = Literal["Describe", "Read"]


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """The committed offset of a group in one partition: the offset of the next record, and the metadata."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class GroupOffset:
    """The progress of a group in one partition."""

    partition: Partition
    ends: LogBounds
    #: None if the group has no committed offset.
    committed: int | None
    owner: GroupMember | None

    @property
    def start(self) -> int:
        """The offset at which a worker would continue: the committed offset if the log contains it, otherwise the first offset."""
        return self.committed if self.committed is not None and self.ends.contains(self.committed) else self.ends.first

    @property
    def lag(self) -> int:
        """The consumer lag: the number of offsets from `start` to the last stable offset."""
        return max(0, self.ends.end - self.start)


async def check_group_access(
    connection: Connection, topics: Sequence[str], group_id: str, operation: _Operation = "Describe"
) -> None:
    """Raise `BrokerUnavailable` or `TopicsMissing` with all missing rights or topics. A change of offsets needs `Read`."""
    await check_usable(connection, _build_rights(topics, group_id, operation))


def _build_rights(topics: Sequence[str], group_id: str, operation: _Operation) -> list[Right]:
    return [*build_topic_rights([operation], topics), Right(operation, "group", group_id)]


async def fetch_group_offsets(connection: Connection, topic: str, group_id: str) -> tuple[GroupDescription, list[GroupOffset]]:
    """Return a group and its offsets in all partitions of a topic. Raises `TopicsMissing` and `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        await check_access(connection, get_network_client(admin), _build_rights([topic], group_id, "Describe"))
        num_partitions = (await count_existing_partitions(admin, [topic])).get(topic)
        if num_partitions is None:
            raise TopicsMissing(build_missing(connection, [topic], asks_name=True))
        partitions = [Partition(topic, index) for index in range(num_partitions)]
        group = await describe_group_with(admin, group_id)
        committed = await _fetch_committed(admin, group_id, partitions)
    bounds = await fetch_log_bounds(connection, partitions)
    return group, [
        GroupOffset(
            partition,
            bounds[partition],
            committed[partition].offset if partition in committed else None,
            group.find_owner(partition),
        )
        for partition in partitions
    ]


async def fetch_committed(
    connection: Connection, group_id: str, partitions: Collection[Partition]
) -> dict[Partition, CommittedOffset]:
    """Return the committed offsets of a group, without the partitions that have none. Raises `BrokerUnavailable`.

    Offsets of open transactions do not count.
    """
    async with admin_client(connection) as admin:
        return await _fetch_committed(admin, group_id, partitions)


async def fetch_log_bounds(connection: Connection, partitions: Collection[Partition]) -> dict[Partition, LogBounds]:
    """Return the bounds of the logs of partitions. Raises `BrokerUnavailable`."""
    async with _open_reader(connection) as consumer:
        keys = {partition: TopicPartition(partition.topic, partition.index) for partition in partitions}
        bounds = await read_log_bounds(consumer, list(keys.values()), connection.request_timeout_ms)
    return {partition: bounds[key] for partition, key in keys.items()}


async def find_offsets_since(
    connection: Connection, partitions: Collection[Partition], timestamp_ms: int
) -> dict[Partition, int | None]:
    """Return the first offset of each partition with a timestamp of at least `timestamp_ms`, or None if all records are older.

    Raises `BrokerUnavailable`.
    """
    async with _open_reader(connection) as consumer:
        keys = {partition: TopicPartition(partition.topic, partition.index) for partition in partitions}
        found = await consumer.offsets_for_times(dict.fromkeys(keys.values(), timestamp_ms))
    return {partition: None if found[key] is None else found[key].offset for partition, key in keys.items()}


async def commit_offsets(connection: Connection, group_id: str, offsets: Mapping[Partition, int]) -> None:
    """Commit offsets for a group without members. Raises `BadSettings` if the group has members, and `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        topics = {partition.topic: None for partition in offsets}
        rights = [*build_topic_rights(["Read"], topics), Right("Read", "group", group_id)]
        await check_access(connection, get_network_client(admin), rights)
        group = await describe_group_with(admin, group_id)
    if group.members:
        raise BadSettings(_describe_members(group_id, ", ".join(sorted(map(str, group.members)))))
    wanted = {
        TopicPartition(partition.topic, partition.index): OffsetAndMetadata(offset, "") for partition, offset in offsets.items()
    }
    async with _open_reader(connection, group_id=group_id) as consumer:
        # With a manual assignment the consumer commits without membership. The broker refuses that if a member has joined
        # meanwhile.
        consumer.assign(list(wanted))
        try:
            await consumer.commit(wanted)
        except CommitFailedError as error:
            raise BadSettings(_describe_members(group_id, "a worker has just joined")) from error


async def _fetch_committed(
    admin: AIOKafkaAdminClient, group_id: str, partitions: Collection[Partition]
) -> dict[Partition, CommittedOffset]:
    indices: dict[str, list[int]] = {}
    for partition in partitions:
        indices.setdefault(partition.topic, []).append(partition.index)
    request = OffsetFetchRequest(group_id, list(indices.items()))

    async def fetch() -> dict[Partition, CommittedOffset]:
        # The admin client's own function raises the error of the response, which is none, for an error of a partition.
        response = await get_network_client(admin).send(await admin.find_coordinator(group_id), request)
        return _parse_committed(response.topics)

    return await retry_while_loading(fetch)


def _parse_committed(topics: Sequence[tuple[str, Sequence[tuple[int, int, str | None, int]]]]) -> dict[Partition, CommittedOffset]:
    committed = {}
    for topic, partitions in topics:
        for index, offset, metadata, code in partitions:
            if code:
                raise for_code(code)("the committed offsets cannot be read")
            if offset >= 0:
                committed[Partition(topic, index)] = CommittedOffset(offset, metadata or "")
    return committed


def _describe_members(group_id: str, members: str) -> str:
    return f"the group {group_id} has live members ({members}): stop its workers first, because they would overwrite the offsets"


def _open_reader(
    connection: Connection, *, group_id: str | None = None
) -> contextlib.AbstractAsyncContextManager[AIOKafkaConsumer]:
    return open_consumer(connection, activity="reading offsets", group_id=group_id, isolation_level="read_committed")
