"""The choice between the classic protocol and the consumer protocol (KIP-848), by what the brokers offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aiokafka.errors import UnsupportedVersionError

from worker.broker.admin.broker_versions import find_old_brokers
from worker.broker.membership.requests import REQUIRED, build_probe
from worker.broker.patches.admin_failover import send_to_any_broker
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from worker.broker.admin.groups import GroupProtocol

#: The values of `GIST_GROUP_PROTOCOL`.
GroupProtocolSetting = Literal["auto", "consumer", "classic"]


async def choose_protocol(client: AIOKafkaClient, protocol: GroupProtocolSetting) -> GroupProtocol:
    """Return the protocol to use. `auto` is the consumer protocol if every broker that answers offers it, and it is turned on.

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
    return "classic" if old or (protocol == "auto" and await _is_turned_off(client)) else "consumer"


async def _is_turned_off(client: AIOKafkaClient) -> bool:
    """Tell whether the brokers refuse the protocol to every group, for example until the end of an upgrade from Kafka 3.

    The heartbeat names no group, so it changes nothing.
    """
    response = await send_to_any_broker(client, build_probe("", ()))
    return bool(response.error_code == UnsupportedVersionError.errno)
