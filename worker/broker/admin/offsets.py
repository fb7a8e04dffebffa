"""Where a group stands in a topic: what it has committed, where the log begins and ends, and who reads it; and how to set it anew.

Whoever reads here is a member of no group and changes nothing. What is committed is changed by `commit_offsets` alone, which the
brokers refuse while the group has members.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import CommitFailedError, KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

from worker.broker.admin.permissions import Right, build_topic_rights, check_access
from worker.broker.admin.topics import admin_client, partitions_in
from worker.broker.consumer.starting_offsets import read_high_watermarks
from worker.errors import BadSettings, BrokerUnavailable, TopicsMissing
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping

    from aiokafka.admin import AIOKafkaAdminClient

    from worker.broker.connection.connection import Connection

Answer = TypeVar("Answer")
# A coordinator that is only just taking over says so; between two questions, in seconds, and how often it is asked.
_PAUSE_S, _MAX_ATTEMPTS = 0.2, 50
# What a member says of itself while the group is rebalancing.
_NOTHING = b""


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """What a group has committed of one partition: the next offset, and the words that it left there."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member of a group: its name, where it runs, and what it reads."""

    client_id: str
    host: str
    partitions: frozenset[Partition]

    def __str__(self) -> str:
        """Return `name@host`."""
        return f"{self.client_id}@{self.host.lstrip('/')}"


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A consumer group as its coordinator knows it; one that has no members is `Empty`, or `Dead` where it has nothing at all."""

    state: str
    members: tuple[GroupMember, ...]

    def find_owner(self, partition: Partition) -> GroupMember | None:
        """Return the member that reads a partition; None where nobody does."""
        return next((it for it in self.members if partition in it.partitions), None)


@dataclass(frozen=True, slots=True)
class LogBounds:
    """Where the log of a partition begins, and where that ends which is committed to it."""

    first: int
    end: int
    #: Where the log ends for readers of uncommitted records.
    high_watermark: int


@dataclass(frozen=True, slots=True)
class GroupOffset:
    """Where a group stands in one partition."""

    partition: Partition
    ends: LogBounds
    #: None where the group has committed nothing.
    committed: int | None
    owner: GroupMember | None

    @property
    def start(self) -> int:
        """The offset at which a worker would go on: what is committed, or the beginning where that is nothing usable."""
        is_usable = self.committed is not None and self.ends.first <= self.committed <= self.ends.high_watermark
        return self.committed if is_usable and self.committed is not None else self.ends.first

    @property
    def lag(self) -> int:
        """Offsets between what is committed and the end; the whole log where nothing is committed, or nothing usable."""
        return max(0, self.ends.end - self.start)


async def fetch_group_offsets(connection: Connection, topic: str, group_id: str) -> tuple[GroupDescription, list[GroupOffset]]:
    """Return a group, and where it stands in each partition of a topic. Raises `TopicsMissing` and `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        rights = [*build_topic_rights(["Describe"], [topic]), Right("Describe", "group", group_id)]
        await check_access(connection, admin._client, rights)  # noqa: SLF001  the admin client has no such question
        partitions = await _partitions(admin, connection, topic)
        group = await describe_group(admin, group_id)
        committed = await fetch_committed(admin, group_id, partitions)
    ends = await fetch_log_bounds(connection, partitions)
    found = [GroupOffset(it, ends[it], at.offset if (at := committed.get(it)) else None, group.find_owner(it)) for it in partitions]
    return group, found


async def describe_group(admin: AIOKafkaAdminClient, group_id: str) -> GroupDescription:
    """Return what the coordinator knows of a group. Raises the client's `KafkaError`."""

    async def described() -> GroupDescription:
        (answer,) = await admin.describe_consumer_groups([group_id])
        error_code, _group_id, state, _protocol_type, _protocol, members, *_ = answer.groups[0]
        if error_code:
            raise for_code(error_code)(f"the group {group_id} cannot be described")
        return GroupDescription(state, tuple(_member(it) for it in members))

    return await _patiently(described)


def _member(described: tuple[str, str, str, bytes, bytes]) -> GroupMember:
    _member_id, client_id, host, _metadata, assignment = described
    partitions: list[Partition] = []
    if assignment != _NOTHING:
        for topic, indices in ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment:
            partitions += [Partition(topic, it) for it in indices]
    return GroupMember(client_id, host, frozenset(partitions))


async def fetch_committed(
    admin: AIOKafkaAdminClient, group_id: str, partitions: Collection[Partition]
) -> dict[Partition, CommittedOffset]:
    """Return what a group has committed of those partitions of which it has committed something. Raises `KafkaError`.

    A transaction that is still open does not count. The client's own question overlooks an answer that is an error as a whole,
    and would take it that nothing is committed.
    """
    topics: dict[str, list[int]] = {}
    for it in partitions:
        topics.setdefault(it.topic, []).append(it.index)
    request = OffsetFetchRequest(group_id, list(topics.items()))

    async def fetched() -> dict[Partition, CommittedOffset]:
        return _committed(await admin._send_request(request, await admin.find_coordinator(group_id)))  # noqa: SLF001  as said above

    return await _patiently(fetched)


async def _patiently(question: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask again where the coordinator is only just coming up, as it does when a cluster sees its first group."""
    for _ in range(_MAX_ATTEMPTS - 1):
        try:
            return await question()
        except KafkaError as error:
            if not error.retriable:
                raise
        await asyncio.sleep(_PAUSE_S)
    return await question()


def _committed(answer: object) -> dict[Partition, CommittedOffset]:
    topics: list[tuple[str, list[tuple[int, int, str | None, int]]]] = getattr(answer, "topics", [])
    codes = [getattr(answer, "error_code", 0), *(error_code for _, found in topics for _, _, _, error_code in found)]
    if code := next((it for it in codes if it), 0):
        raise for_code(code)("the committed offsets cannot be read")
    return {
        Partition(topic, index): CommittedOffset(offset, metadata or "")
        for topic, found in topics
        for index, offset, metadata, _ in found
        if offset >= 0
    }


async def fetch_log_bounds(connection: Connection, partitions: Collection[Partition]) -> dict[Partition, LogBounds]:
    """Return where partitions begin and end, for readers of what is committed. Raises `BrokerUnavailable`."""
    async with _asking(connection) as client:
        places = {it: TopicPartition(it.topic, it.index) for it in partitions}
        wheres = list(places.values())
        first, end = await client.beginning_offsets(wheres), await client.end_offsets(wheres)
        high_watermark = await read_high_watermarks(client, wheres, connection.request_timeout_ms)
    return {it: LogBounds(first[where], end[where], max(end[where], high_watermark[where])) for it, where in places.items()}


async def find_offsets_since(
    connection: Connection, partitions: Collection[Partition], timestamp_ms: int
) -> dict[Partition, int | None]:
    """Return the first offset of each partition whose record is not older than a moment; None where all are older.

    Raises `BrokerUnavailable`.
    """
    async with _asking(connection) as client:
        places = {it: TopicPartition(it.topic, it.index) for it in partitions}
        found = await client.offsets_for_times(dict.fromkeys(places.values(), timestamp_ms))
    return {it: at.offset if (at := found[where]) else None for it, where in places.items()}


async def commit_offsets(connection: Connection, group_id: str, offsets: Mapping[Partition, int]) -> None:
    """Let a group that has no members stand at these offsets. Raises `BadSettings` where it has some, and `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        rights = [*build_topic_rights(["Read"], {partition.topic: None for partition in offsets}), Right("Read", "group", group_id)]
        await check_access(connection, admin._client, rights)  # noqa: SLF001  as above
        group = await describe_group(admin, group_id)
    if group.members:
        raise BadSettings(_refusal(group_id, ", ".join(sorted(map(str, group.members)))))
    wanted = {TopicPartition(it.topic, it.index): OffsetAndMetadata(offset, "") for it, offset in offsets.items()}
    async with _asking(connection, group_id=group_id) as client:
        # Assigned by hand, it commits without being a member; a member that came meanwhile makes the brokers refuse it.
        client.assign(list(wanted))
        try:
            await client.commit(wanted)
        except CommitFailedError as error:
            raise BadSettings(_refusal(group_id, "somebody joined just now")) from error


def _refusal(group_id: str, who: str) -> str:
    return f"the group {group_id} has live members ({who}): stop its workers first, for they would commit over it"


async def _partitions(admin: AIOKafkaAdminClient, connection: Connection, topic: str) -> list[Partition]:
    num_partitions = (await partitions_in(admin, [topic])).get(topic)
    if num_partitions is None:
        raise TopicsMissing(
            f"there is no topic {topic} at {connection.bootstrap_servers}: create it with `gist-stream topics --create`"
        )
    return [Partition(topic, index) for index in range(num_partitions)]


@contextlib.asynccontextmanager
async def _asking(connection: Connection, *, group_id: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    """Give a client that is asked and reads nothing. Raises `BrokerUnavailable`."""
    client = AIOKafkaConsumer(**connection.options(), group_id=group_id, isolation_level="read_committed", enable_auto_commit=False)
    try:
        await connection.connect(client.start())
        yield client
    except KafkaError as error:
        raise BrokerUnavailable(f"{connection.bootstrap_servers} does not tell its offsets: {error}") from error
    finally:
        await client.stop()
