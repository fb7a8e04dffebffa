"""The choice between the classic protocol and the consumer protocol (KIP-848), by what the brokers offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aiokafka.errors import KafkaError, UnsupportedVersionError

from worker.broker.admin.broker_versions import find_old_brokers
from worker.broker.admin.group_check import shares_otherwise
from worker.broker.admin.group_settings import DEFAULT_SESSION_TIMEOUT_MS, SESSION_TIMEOUT, read_group_settings
from worker.broker.admin.groups import describe_group_with
from worker.broker.client_internals import get_network_client
from worker.broker.membership.requests import REQUIRED, build_probe
from worker.broker.patches.admin_failover import send_to_any_broker
from worker.broker.timeouts import with_timeout
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.client import AIOKafkaClient

    from worker.broker.admin.groups import GroupProtocol

#: The values of `GIST_GROUP_PROTOCOL`.
GroupProtocolSetting = Literal["auto", "consumer", "classic"]
# The time for the answer of one broker, in seconds.
_ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ProtocolChoice:
    """The protocol that a worker uses."""

    protocol: GroupProtocol
    #: Why `auto` selects `classic` although the brokers offer the consumer protocol, and what to do; empty otherwise.
    reason: str = ""


async def choose_group_protocol(
    admin: AIOKafkaAdminClient, protocol: GroupProtocolSetting, *, group_id: str, session_timeout_ms: int
) -> ProtocolChoice:
    """Return the protocol to use, as `choose_protocol`, and `classic` for a group that another program uses.

    The classic protocol refuses the worker in such a group, with advice. By the consumer protocol both would share the partitions.
    """
    choice = await choose_protocol(get_network_client(admin), protocol, group_id=group_id, session_timeout_ms=session_timeout_ms)
    if protocol != "auto" or choice.protocol == "classic":
        return choice
    try:
        group = await with_timeout(_ANSWER_TIMEOUT_S, describe_group_with(admin, group_id))
    except (KafkaError, TimeoutError):
        # The worker joins as soon as the coordinator answers.
        return choice
    return ProtocolChoice("classic") if shares_otherwise(group) else choice


async def choose_protocol(
    client: AIOKafkaClient,
    protocol: GroupProtocolSetting,
    *,
    group_id: str,
    session_timeout_ms: int = DEFAULT_SESSION_TIMEOUT_MS,
) -> ProtocolChoice:
    """Return the protocol to use.

    `auto` is the consumer protocol if every broker that answers offers it, the cluster has it turned on, and the session timeout of
    the group is at most `session_timeout_ms`. The session timeout is read only if `session_timeout_ms` is below the default of the
    brokers. Raises `BrokerUnavailable` for `consumer` if a broker does not offer it, and `KafkaError`.
    """
    if protocol == "classic":
        return ProtocolChoice("classic")
    old = await find_old_brokers(client, {struct.API_KEY: struct.API_VERSION for struct in REQUIRED})
    if old and protocol == "consumer":
        raise BrokerUnavailable(
            f"GIST_GROUP_PROTOCOL=consumer needs Kafka 4.0 or newer, which {', '.join(old)} is not: "
            "set GIST_GROUP_PROTOCOL=classic, or auto"
        )
    if old or (protocol == "auto" and await _is_turned_off(client)):
        return ProtocolChoice("classic")
    if protocol == "auto" and (reason := await _explain_session_timeout(client, group_id, session_timeout_ms)):
        return ProtocolChoice("classic", reason)
    return ProtocolChoice("consumer")


async def _is_turned_off(client: AIOKafkaClient) -> bool:
    """Tell whether the brokers refuse the protocol to every group, for example until the end of an upgrade from Kafka 3.

    The heartbeat names no group, so it changes nothing.
    """
    response = await send_to_any_broker(client, build_probe("", ()), timeout_s=_ANSWER_TIMEOUT_S)
    return bool(response.error_code == UnsupportedVersionError.errno)


async def _explain_session_timeout(client: AIOKafkaClient, group_id: str, session_timeout_ms: int) -> str:
    """Return why the session timeout of the group keeps a worker from the consumer protocol; empty if it does not."""
    if session_timeout_ms >= DEFAULT_SESSION_TIMEOUT_MS:
        return ""
    values_ms = await read_group_settings(client, group_id, [SESSION_TIMEOUT])
    if values_ms.get(SESSION_TIMEOUT, session_timeout_ms + 1) <= session_timeout_ms:
        return ""
    kept = f"the worker uses the classic protocol in the group {group_id}, because GIST_SESSION_TIMEOUT_MS={session_timeout_ms}"
    if SESSION_TIMEOUT not in values_ms:
        return (
            f"{kept} cannot be compared with {SESSION_TIMEOUT} of the group: give the worker the right DescribeConfigs on the "
            "group, or set GIST_GROUP_PROTOCOL=classic"
        )
    return (
        f"{kept} is below {SESSION_TIMEOUT}={values_ms[SESSION_TIMEOUT]} of the group: `gist-stream topics --create` lowers "
        "the timeout of the group, with the right AlterConfigs on the group, if group.consumer.min.session.timeout.ms of the "
        "brokers allows it; or set GIST_GROUP_PROTOCOL=classic"
    )
