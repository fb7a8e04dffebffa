"""The description of a consumer group: its protocol, its state, its members, and their partitions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code

from worker.broker.admin.client import admin_client
from worker.broker.admin.group_requests import build_describe
from worker.broker.client_internals import get_network_client
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka.admin import AIOKafkaAdminClient

    from worker.broker.connection.connection import Connection

GroupProtocol = Literal["classic", "consumer"]
Answer = TypeVar("Answer")
# A coordinator that is loading its state answers with a retriable error. Seconds between two attempts, and their number.
_RETRY_INTERVAL_S, _MAX_ATTEMPTS = 0.2, 50
# The error code of a group that does not exist, or is of another kind; and the type of a classic member.
_GROUP_ID_NOT_FOUND, _CLASSIC_MEMBER = 69, 0
# The state of a group that the coordinator does not know as a classic group.
_DEAD = "Dead"


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member of a group: its client id, its host, its partitions, and the protocol that it speaks."""

    client_id: str
    host: str
    partitions: frozenset[Partition]
    protocol: GroupProtocol = "classic"

    def __str__(self) -> str:
        """Return `name@host`."""
        return f"{self.client_id}@{self.host.lstrip('/')}"


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """The coordinator's description of a group.

    The state of a group without members is `Empty`, or `Dead` if it has no committed offsets either.
    """

    state: str
    members: tuple[GroupMember, ...]
    #: The protocol of the group: `consumer` is KIP-848, and may have members of both protocols. None for a `Dead` group.
    protocol: GroupProtocol | None = "classic"
    #: The protocol type of the members of a classic group, such as `consumer` or `connect`; empty otherwise.
    protocol_type: str = ""
    #: The assignor of a classic group; empty during a rebalance.
    assignor: str = ""

    def find_owner(self, partition: Partition) -> GroupMember | None:
        """Return the member that reads a partition, or None."""
        return next((member for member in self.members if partition in member.partitions), None)

    @property
    def num_classic(self) -> int:
        """The number of members that speak the classic protocol."""
        return sum(member.protocol == "classic" for member in self.members)

    def describe_for(self, protocol: GroupProtocol) -> str:
        """Return state and number of members for a worker with `protocol`, and how many members have the other protocol."""
        described, num_others = str(replace(self, protocol=None)), sum(member.protocol != protocol for member in self.members)
        if not num_others:
            return described
        number = "" if num_others == len(self.members) else f"{num_others} of them "
        return f"{described}, {number}with the {'classic' if protocol == 'consumer' else 'consumer'} protocol"

    def __str__(self) -> str:
        """Return state, number of members and protocol, for people."""
        if self.state == _DEAD:
            return "no such group yet, because no worker has joined or committed"
        mixed = f", {self.num_classic} of them classic" if self.protocol == "consumer" and self.num_classic else ""
        described = f"{self.state.lower()}, {len(self.members)} member{'s' * (len(self.members) != 1)}{mixed}"
        return described if self.protocol is None else f"{described}, {self.protocol} protocol"


async def describe_group(connection: Connection, group_id: str) -> GroupDescription:
    """Return the coordinator's description of a group. Raises `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        return await describe_group_with(admin, group_id)


async def describe_group_with(admin: AIOKafkaAdminClient, group_id: str) -> GroupDescription:
    """Return the coordinator's description of a group. Raises `KafkaError`."""

    async def describe() -> GroupDescription:
        (response,) = await admin.describe_consumer_groups([group_id])
        error_code, _group_id, state, protocol_type, assignor, members, *_ = response.groups[0]
        if error_code not in (0, _GROUP_ID_NOT_FOUND):
            raise for_code(error_code)(f"the group {group_id} cannot be described")
        # `DescribeGroups` also calls a group of the consumer protocol dead.
        if error_code == 0 and state != _DEAD:
            parsed = tuple(_parse_classic_member(member, protocol_type) for member in members)
            return GroupDescription(state, parsed, protocol_type=protocol_type, assignor=assignor)
        return await _describe_consumer_group(admin, group_id) or GroupDescription(_DEAD, (), None)

    return await retry_while_loading(describe)


async def _describe_consumer_group(admin: AIOKafkaAdminClient, group_id: str) -> GroupDescription | None:
    """Return the description of a group of the consumer protocol; None if there is none, or the broker has no such groups."""
    coordinator = await admin.find_coordinator(group_id)
    try:
        response = await get_network_client(admin).send(coordinator, build_describe(group_id))
    except IncompatibleBrokerVersion:
        return None
    error_code, message, _group_id, state, _epoch, _assignment_epoch, _assignor, members, *_ = response.groups[0]
    if error_code == _GROUP_ID_NOT_FOUND:
        return None
    if error_code:
        raise for_code(error_code)(f"the group {group_id} cannot be described: {message}")
    return GroupDescription(state, tuple(_parse_consumer_member(member) for member in members), "consumer")


def _parse_classic_member(member: tuple[str, str, str, bytes, bytes], protocol_type: str) -> GroupMember:
    _member_id, client_id, host, _metadata, assignment = member
    partitions: list[Partition] = []
    # The assignment is empty while the group rebalances. Other programs than consumers have an assignment of another form.
    if assignment and protocol_type == ConsumerProtocol.PROTOCOL_TYPE:
        for topic, indices in ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment:
            partitions += [Partition(topic, index) for index in indices]
    return GroupMember(client_id, host, frozenset(partitions))


def _parse_consumer_member(member: tuple[Any, ...]) -> GroupMember:
    _member_id, _instance, _rack, _epoch, client_id, host, _topics, _pattern, assignment, _target, member_type, _tags = member
    topics, _assignment_tags = assignment
    partitions = frozenset(Partition(name, index) for _, name, indices, _ in topics for index in indices)
    return GroupMember(client_id, host, partitions, "classic" if member_type == _CLASSIC_MEMBER else "consumer")


async def retry_while_loading(request: Callable[[], Awaitable[Answer]]) -> Answer:
    """Repeat a request while the coordinator is loading its state, as it does for the first group of a cluster."""
    for _ in range(_MAX_ATTEMPTS - 1):
        try:
            return await request()
        except KafkaError as error:
            if not error.retriable:
                raise
        await asyncio.sleep(_RETRY_INTERVAL_S)
    return await request()
