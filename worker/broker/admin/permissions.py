"""The check of the worker's ACLs at start-up, before the first record.

Each request has no effect: a fetch at an invalid offset, a heartbeat of an unknown member, an empty produce. Brokers
check the ACLs of a request first. Only an authorization error counts as a refusal; the worker meets any other error
later, in its work. All rights are checked before the first refusal is reported, so that one line names every missing
right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from worker.broker.patches.admin_failover import send_to_any_broker
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection.connection import Connection

_TIMEOUT_MS = 5_000
_REFUSALS = (GroupAuthorizationFailedError, TopicAuthorizationFailedError, TransactionalIdAuthorizationFailed)
_REFUSAL_CODES = frozenset(refusal.errno for refusal in _REFUSALS)
# In place of the leader of a topic that the worker may not describe.
_HIDDEN = -2
Operation = Literal["AlterConfigs", "Create", "Describe", "DescribeConfigs", "Read", "Write"]


@dataclass(frozen=True, slots=True)
class Right:
    """One operation on one resource."""

    operation: Operation
    kind: Literal["topic", "group", "transactional ids"]
    #: The name of the resource; for transactional ids their common prefix.
    name: str

    def __str__(self) -> str:
        """Return the right as error messages name it."""
        prefix = " that begin with" if self.kind == "transactional ids" else ""
        return f"{self.operation} on the {self.kind}{prefix} {self.name}"


def build_topic_rights(operations: Sequence[Operation], topics: Iterable[str]) -> list[Right]:
    """Return the rights to each operation on each topic."""
    return [Right(operation, "topic", topic) for topic in topics for operation in operations]


def build_refusal(connection: Connection, *rights: Right) -> BrokerUnavailable:
    """Return the error that names the missing rights in one line."""
    missing = ", ".join(map(str, rights))
    return BrokerUnavailable(
        f"{connection.bootstrap_servers} does not allow {missing}; docs/operate/security.md lists the required rights"
    )


async def check_access(connection: Connection, client: AIOKafkaClient, rights: Iterable[Right]) -> None:
    """Raise `BrokerUnavailable` with the names of all rights that the brokers refuse."""
    if missing := await find_missing_rights(client, rights):
        raise build_refusal(connection, *missing)


async def find_missing_rights(client: AIOKafkaClient, rights: Iterable[Right]) -> list[Right]:
    """Return the rights that the brokers refuse."""
    wanted = list(dict.fromkeys(rights))
    try:
        leaders = await _find_leaders(client, [right.name for right in wanted if right.kind == "topic"])
    except KafkaError:
        leaders = {}
    return [right for right in wanted if await _is_refused(client, right, leaders)]


async def _is_refused(client: AIOKafkaClient, right: Right, leaders: Mapping[str, int]) -> bool:
    try:
        if right.kind == "group":
            code = await _probe_group(client, right)
        elif right.kind == "transactional ids":
            # Write implies Describe. If only Describe is allowed, the start of a producer reports it.
            await _find_coordinator(client, CoordinationType.TRANSACTION, f"{right.name}check")
            code = 0
        else:
            code = await _probe_topic(client, right, leaders.get(right.name))
    except _REFUSALS:
        return True
    except KafkaError:
        return False
    return code in _REFUSAL_CODES


async def _find_leaders(client: AIOKafkaClient, topics: Sequence[str]) -> dict[str, int]:
    """Return the leader of the first partition of each existing topic, and `_HIDDEN` for a topic without the right Describe."""
    leaders: dict[str, int] = {}
    if not topics:
        return leaders
    response = await send_to_any_broker(client, MetadataRequest(sorted(set(topics)), allow_auto_topic_creation=False))
    for code, topic, _, partitions, *_ in response.topics:
        leader = next((found[2] for found in partitions if found[1] == 0), -1)
        if code == TopicAuthorizationFailedError.errno:
            leaders[topic] = _HIDDEN
        elif leader >= 0:
            leaders[topic] = leader
    return leaders


async def _probe_topic(client: AIOKafkaClient, right: Right, leader: int | None) -> int:
    """Return the error code of a broker, or 0 if the topic has no leader to ask."""
    topic = right.name
    if right.operation == "DescribeConfigs":
        request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, ["max.message.bytes"])])
        response = await send_to_any_broker(client, request)
        return next((int(found[0]) for found in response.resources), 0)
    if leader == _HIDDEN:
        return int(TopicAuthorizationFailedError.errno)
    if leader is None or right.operation == "Describe":
        return 0
    if right.operation == "Read":
        # No log contains the offset -1.
        response = await client.send(leader, FetchRequest(0, 0, 1, 0, [(topic, [(0, -1, 1)])]))
    else:
        response = await client.send(leader, ProduceRequest(None, -1, _TIMEOUT_MS, [(topic, [(0, b"")])]))
    return next((int(partition[1]) for _, found in response.topics for partition in found), 0)


async def _probe_group(client: AIOKafkaClient, right: Right) -> int:
    coordinator = await _find_coordinator(client, CoordinationType.GROUP, right.name)
    if right.operation == "Describe":
        return 0
    response = await client.send(coordinator, HeartbeatRequest(right.name, -1, "unknown"))
    return int(response.error_code)


async def _find_coordinator(client: AIOKafkaClient, kind: int, name: str) -> int:
    """Return the coordinator of a group or a transactional id. Raises `KafkaError`, also if Describe is not allowed."""
    response = await send_to_any_broker(client, FindCoordinatorRequest(name, kind))
    if response.error_code:
        raise for_code(response.error_code)(name)
    return int(response.coordinator_id)
