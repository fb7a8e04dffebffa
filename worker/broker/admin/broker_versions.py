"""Which brokers can be trusted with transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.protocol.admin import ApiVersionRequest

from worker.broker.admin.topics import admin_client
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

    from worker.broker.connection.connection import Connection

# EndTxn, and its version that came with Kafka 4.0: https://kafka.apache.org/protocol#The_Messages_EndTxn
_END_TXN, _SAFE_VERSION = 26, 5


async def require_kafka_4(connection: Connection) -> None:
    """Raise `BrokerUnavailable` where a broker is older than Kafka 4.0.

    There the offsets of a finished transaction may become visible after its successor has read them, and records come twice.
    """
    async with admin_client(connection) as admin:
        old = await _old_brokers(admin)
    if old:
        raise BrokerUnavailable(
            f"exactly-once delivery needs Kafka 4.0 or newer, which {', '.join(old)} is not: there a takeover may read old "
            "offsets. Use GIST_DELIVERY=at_least_once, or set GIST_ALLOW_OLD_BROKERS=true at the risk of duplicates"
        )


async def _old_brokers(admin: AIOKafkaAdminClient) -> list[str]:
    """Return the addresses of the brokers that answer and are too old."""
    client = admin._client  # noqa: SLF001  there is no public way to ask one broker
    old = []
    for broker in client.cluster.brokers():
        if not await client.ready(broker.nodeId):
            continue
        answer = await client.send(broker.nodeId, ApiVersionRequest())
        newest = {key: max_version for key, _, max_version in answer.api_versions}
        if newest.get(_END_TXN, 0) < _SAFE_VERSION:
            old.append(f"{broker.host}:{broker.port}")
    return old
