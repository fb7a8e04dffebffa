"""The versions of the brokers: which of them lack a request that the worker needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.protocol.admin import ApiVersionRequest

from worker.broker.admin.client import admin_client
from worker.broker.client_internals import get_network_client
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection.connection import Connection

# The key of EndTxn, and its first version in Kafka 4.0: https://kafka.apache.org/protocol#The_Messages_EndTxn
_END_TXN, _SAFE_VERSION = 26, 5


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
    """Return the addresses of the brokers that answer and lack a version of a request; `needed` has versions by request keys."""
    old = []
    for broker in client.cluster.brokers():
        if not await client.ready(broker.nodeId):
            continue
        response = await client.send(broker.nodeId, ApiVersionRequest())
        newest = {key: max_version for key, _, max_version in response.api_versions}
        if any(newest.get(key, -1) < version for key, version in needed.items()):
            old.append(f"{broker.host}:{broker.port}")
    return old
