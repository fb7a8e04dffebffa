"""The choice between the classic protocol and the consumer protocol (KIP-848), by what the brokers offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from worker.broker.admin.broker_versions import find_old_brokers
from worker.broker.membership.requests import REQUIRED
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

#: The values of `GIST_GROUP_PROTOCOL`.
GroupProtocol = Literal["auto", "consumer", "classic"]


async def choose_protocol(client: AIOKafkaClient, protocol: GroupProtocol) -> Literal["consumer", "classic"]:
    """Return the protocol to use. `auto` is the consumer protocol if every broker that answers offers it.

    Raises `BrokerUnavailable` for `consumer` if a broker does not offer it, and `KafkaError`.
    """
    if protocol == "classic":
        return "classic"
    old = await find_old_brokers(client, {struct.API_KEY: struct.API_VERSION for struct in REQUIRED})
    if old and protocol == "consumer":
        raise BrokerUnavailable(
            f"GIST_GROUP_PROTOCOL=consumer needs Kafka 4.0 or newer, which {', '.join(old)} is not: "
            "set GIST_GROUP_PROTOCOL=classic, or auto"
        )
    return "classic" if old else "consumer"
