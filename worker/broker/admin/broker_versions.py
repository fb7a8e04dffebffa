"""The versions of the brokers: which of them lack a request that the worker needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.protocol.admin import ApiVersionRequest

from worker.broker.admin.client import admin_client
from worker.broker.client_internals import get_network_client
from worker.broker.timeouts import with_timeout
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection.connection import Connection

# The key of EndTxn, and its first version in Kafka 4.0: https://kafka.apache.org/protocol#The_Messages_EndTxn
_END_TXN, _SAFE_VERSION = 26, 5
# The time for the answer of one broker, in seconds. A broker that hangs must not delay the start of a worker for long.
_ANSWER_TIMEOUT_S = 5.0


async def require_kafka_4(connection: Connection) -> None:
    """Raise `BrokerUnavailable` if a broker is older than Kafka 4.0.

    An older coordinator may apply the offsets of a finished transaction after the next owner has read them. Then
    records come twice.
    """
    async with admin_client(connection) as admin:
        old = await find_old_brokers(get_network_client(admin), {_END_TXN: _SAFE_VERSION})
    if old:
        raise BrokerUnavailable(
            f"exactly-once delivery needs Kafka 4.0 or newer, which {', '.join(old)} is not: there a takeover may read old "
            "offsets. Use GIST_DELIVERY=at_least_once, or set GIST_ALLOW_OLD_BROKERS=true at the risk of duplicates"
        )


async def find_old_brokers(client: AIOKafkaClient, needed: Mapping[int, int]) -> list[str]:
    """Return the addresses of the brokers that lack a version of a request; `needed` has versions by request keys.

    A broker that does not answer within some seconds is left out. Raises `KafkaError`.
    """
    brokers = list(client.cluster.brokers())
    newest = await asyncio.gather(*(_read_newest_versions(client, broker.nodeId) for broker in brokers))
    return [
        f"{broker.host}:{broker.port}"
        for broker, versions in zip(brokers, newest, strict=True)
        if versions is not None and any(versions.get(key, -1) < version for key, version in needed.items())
    ]


async def _read_newest_versions(client: AIOKafkaClient, node_id: int) -> dict[int, int] | None:
    """Return the newest version of each request that a broker offers; None if the broker does not answer in time."""

    async def ask() -> dict[int, int] | None:
        if not await client.ready(node_id):
            return None
        response = await client.send(node_id, ApiVersionRequest())
        return {key: max_version for key, _, max_version in response.api_versions}

    try:
        return await with_timeout(_ANSWER_TIMEOUT_S, ask())
    except TimeoutError:
        return None
