"""What the brokers allow us, asked at the start: a worker that may not do its work says so then, and not with the first record.

Each question is a request that changes nothing, whatever the answer: a fetch from nowhere, a heartbeat of nobody, a produce of
nothing. Brokers look at the access first. Only a clear refusal counts; any other answer, or none, is for
those to notice who do the work. All questions are asked before the first refusal is reported, so that one line names every right
that is missing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
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

from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection.connection import Connection

_TIMEOUT_MS = 5_000
_REFUSALS = (GroupAuthorizationFailedError, TopicAuthorizationFailedError, TransactionalIdAuthorizationFailed)
_REFUSAL_CODES = frozenset(refusal.errno for refusal in _REFUSALS)
# The leader of a topic that we may not know of.
_HIDDEN = -2
Operation = Literal["Create", "Describe", "DescribeConfigs", "Read", "Write"]


@dataclass(frozen=True, slots=True)
class Right:
    """One operation on one resource."""

    operation: Operation
    kind: Literal["topic", "group", "transactional ids"]
    #: Of transactional ids what they begin with.
    name: str

    def __str__(self) -> str:
        """Say it as the one line about its absence does."""
        begin = " that begin with" if self.kind == "transactional ids" else ""
        return f"{self.operation} on the {self.kind}{begin} {self.name}"


def build_topic_rights(operations: Sequence[Operation], topics: Iterable[str]) -> list[Right]:
    """Return the rights to some operations on each of some topics."""
    return [Right(operation, "topic", topic) for topic in topics for operation in operations]


def build_refusal(connection: Connection, *rights: Right) -> BrokerUnavailable:
    """Return the one line about what we may not do."""
    missing = ", ".join(map(str, rights))
    return BrokerUnavailable(f"{connection.bootstrap_servers} does not allow us {missing}; docs/security.md lists what is needed")


async def check_access(connection: Connection, client: AIOKafkaClient, rights: Iterable[Right]) -> None:
    """Raise `BrokerUnavailable`, naming every right that the brokers refuse."""
    wanted = list(dict.fromkeys(rights))
    try:
        leaders = await _leaders(client, [right.name for right in wanted if right.kind == "topic"])
    except KafkaError:
        leaders = {}
    if missing := [right for right in wanted if await _is_refused(client, right, leaders)]:
        raise build_refusal(connection, *missing)


async def _is_refused(client: AIOKafkaClient, right: Right, leaders: Mapping[str, int]) -> bool:
    try:
        if right.kind == "group":
            code = await _ask_group(client, right)
        elif right.kind == "transactional ids":
            # To write implies to describe; who may only describe learns of it when a producer starts.
            await _find_coordinator(client, CoordinationType.TRANSACTION, f"{right.name}check")
            code = 0
        else:
            code = await _ask_topic(client, right, leaders.get(right.name))
    except _REFUSALS:
        return True
    except KafkaError:
        return False
    return code in _REFUSAL_CODES


async def _leaders(client: AIOKafkaClient, topics: Sequence[str]) -> dict[str, int]:
    """Return the broker that leads the first partition of each topic that is there, and `_HIDDEN` for those that we may not see."""
    leaders: dict[str, int] = {}
    if not topics:
        return leaders
    answer = await _ask_any(client, MetadataRequest(sorted(set(topics)), allow_auto_topic_creation=False))
    for code, topic, _, partitions, *_ in answer.topics:
        leader = next((found[2] for found in partitions if found[1] == 0), -1)
        if code == TopicAuthorizationFailedError.errno:
            leaders[topic] = _HIDDEN
        elif leader >= 0:
            leaders[topic] = leader
    return leaders


async def _ask_topic(client: AIOKafkaClient, right: Right, leader: int | None) -> int:
    """Return the code with which a broker answers. A topic that is hidden, or is nowhere, has no leader to ask."""
    topic = right.name
    if right.operation == "DescribeConfigs":
        request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, ["max.message.bytes"])])
        answer = await _ask_any(client, request)
        return next((int(found[0]) for found in answer.resources), 0)
    if leader == _HIDDEN:
        return int(TopicAuthorizationFailedError.errno)
    if leader is None or right.operation == "Describe":
        return 0
    if right.operation == "Read":
        # No log has this offset.
        answer = await client.send(leader, FetchRequest(0, 0, 1, 0, [(topic, [(0, -1, 1)])]))
    else:
        answer = await client.send(leader, ProduceRequest(None, -1, _TIMEOUT_MS, [(topic, [(0, b"")])]))
    return next((int(partition[1]) for _, found in answer.topics for partition in found), 0)


async def _ask_group(client: AIOKafkaClient, right: Right) -> int:
    coordinator = await _find_coordinator(client, CoordinationType.GROUP, right.name)
    if right.operation == "Describe":
        return 0
    beat = await client.send(coordinator, HeartbeatRequest(right.name, -1, "nobody"))
    return int(beat.error_code)


async def _find_coordinator(client: AIOKafkaClient, kind: int, name: str) -> int:
    """Return the coordinator of a group or a transactional id; raises the client's error where it may not be described."""
    answer = await _ask_any(client, FindCoordinatorRequest(name, kind))
    if answer.error_code:
        raise for_code(answer.error_code)(name)
    return int(answer.coordinator_id)


async def _ask_any(client: AIOKafkaClient, request: Any) -> Any:
    """Ask one broker after the other until one answers: a cluster is well with one of them away."""
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    failure: KafkaError = NodeNotReadyError("no broker is known")
    for node in nodes:
        try:
            return await client.send(node, request)
        except (NodeNotReadyError, KafkaConnectionError) as error:
            failure = error
    raise failure
