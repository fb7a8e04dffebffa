"""What the brokers allow us, asked at the start: a worker that may not do its work says so then, and not with the first record.

Each question is a request that changes nothing, whatever the answer: a fetch from nowhere, a heartbeat of nobody, a produce of
nothing. Brokers look at the access first. Only a clear refusal counts; any other answer, or none, is for those to notice who do
the work.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiokafka.client import CoordinationType
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection import Connection

_TIMEOUT_MS = 5_000


def refused(connection: Connection, operation: str, resource: str) -> BrokerUnavailable:
    """Return the one line about what we may not do."""
    return BrokerUnavailable(
        f"{connection.bootstrap_servers} does not allow us {operation} on the {resource}; docs/security.md lists what is needed"
    )


async def check_visible(
    connection: Connection, client: AIOKafkaClient, topics: Sequence[str], *, operation: str = "Describe"
) -> dict[str, int]:
    """Return the broker that leads the first partition of each topic that is there.

    Raises `BrokerUnavailable` for a topic that is hidden from us; that `operation` would show it.
    """
    answer = await client.send(_any_node(client), MetadataRequest(list(topics), allow_auto_topic_creation=False))
    leaders: dict[str, int] = {}
    for code, topic, _, partitions, *_ in answer.topics:
        if code == TopicAuthorizationFailedError.errno:
            raise refused(connection, operation, f"topic {topic}")
        leader = next((it[2] for it in partitions if it[1] == 0), -1)
        if leader >= 0:
            leaders[topic] = leader
    return leaders


async def check_readable(connection: Connection, client: AIOKafkaClient, topics: Sequence[str]) -> None:
    """Raise `BrokerUnavailable` where we may not read one of these topics."""
    with contextlib.suppress(KafkaError):
        for topic, leader in (await check_visible(connection, client, topics, operation="Read")).items():
            # No log has this offset.
            fetch = FetchRequest(0, 0, 1, 0, [(topic, [(0, -1, 1)])])
            answer = await client.send(leader, fetch)
            if any(it[1] == TopicAuthorizationFailedError.errno for _, found in answer.topics for it in found):
                raise refused(connection, "Read", f"topic {topic}")


async def check_member(connection: Connection, client: AIOKafkaClient, group_id: str) -> None:
    """Raise `BrokerUnavailable` where we may not be of this group."""
    try:
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
        beat = await client.send(coordinator, HeartbeatRequest(group_id, -1, "nobody"))
    except GroupAuthorizationFailedError:
        raise refused(connection, "Read", f"group {group_id}") from None
    except KafkaError:
        return
    if beat.error_code == GroupAuthorizationFailedError.errno:
        raise refused(connection, "Read", f"group {group_id}")


async def check_writable(connection: Connection, client: AIOKafkaClient, topics: Sequence[str]) -> None:
    """Raise `BrokerUnavailable` where we may not write to one of these topics."""
    with contextlib.suppress(KafkaError):
        for topic, leader in (await check_visible(connection, client, topics, operation="Write")).items():
            answer = await client.send(leader, ProduceRequest(None, -1, _TIMEOUT_MS, [(topic, [(0, b"")])]))
            if any(it[1] == TopicAuthorizationFailedError.errno for _, found in answer.topics for it in found):
                raise refused(connection, "Write", f"topic {topic}")


def _any_node(client: AIOKafkaClient) -> int:
    node: int | None = client.get_random_node()
    if node is None:
        raise KafkaError("no broker is known")
    return node
