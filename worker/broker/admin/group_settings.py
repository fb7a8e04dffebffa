"""The settings that a group of the consumer protocol has at its coordinator, since Kafka 4.0.

Members of this protocol (KIP-848) do not choose their session timeout: the coordinator does, for the whole group. It also
names the longest heartbeat interval. The brokers' minimum and maximum bound the values of a group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import GroupAuthorizationFailedError, IncompatibleBrokerVersion, for_code
from aiokafka.protocol.admin import DescribeConfigsRequest

from worker.broker.admin.client import admin_client
from worker.broker.admin.group_requests import GROUP_RESOURCE, build_alter_settings
from worker.broker.admin.permissions import Right
from worker.broker.client_internals import get_network_client
from worker.broker.patches.admin_failover import send_to_any_broker

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection.connection import Connection

HEARTBEAT_INTERVAL = "consumer.heartbeat.interval.ms"
SESSION_TIMEOUT = "consumer.session.timeout.ms"
#: The session timeout of a group if neither the group nor the brokers have a setting.
DEFAULT_SESSION_TIMEOUT_MS = 45_000
# The time for the answer of one broker, in seconds.
_ANSWER_TIMEOUT_S = 5.0


async def set_group_settings(connection: Connection, group_id: str, wanted_ms: Mapping[str, int]) -> dict[str, str]:
    """Set settings of a group, in milliseconds; return the reason of each refusal by the name of the setting.

    A refused setting does not prevent the others. Raises `BrokerUnavailable`.
    """
    refusals = {}
    async with admin_client(connection) as admin:
        for name, value_ms in wanted_ms.items():
            # The brokers accept or refuse all settings of a request together.
            request = build_alter_settings(group_id, {name: str(value_ms)})
            try:
                response = await send_to_any_broker(get_network_client(admin), request)
            except IncompatibleBrokerVersion:
                refusals[name] = "brokers before Kafka 4.0 have no settings of groups"
                continue
            code, message, _kind, _name, _tags = response.responses[0]
            if code == GroupAuthorizationFailedError.errno:
                refusals[name] = f"the right {Right('AlterConfigs', 'group', group_id)} is missing"
            elif code:
                refusals[name] = message or for_code(code).__name__
    return refusals


async def find_longer_waits(connection: Connection, group_id: str, wanted_ms: Mapping[str, int]) -> dict[str, int]:
    """Return the settings of a group that are above the wanted values, in milliseconds.

    The result is empty without the right DescribeConfigs on the group, or if the brokers have no settings of groups. Raises
    `BrokerUnavailable`.
    """
    values_ms = await _read_as_admin(connection, group_id, wanted_ms)
    return {name: values_ms[name] for name, value_ms in wanted_ms.items() if values_ms.get(name, 0) > value_ms}


async def find_other_timeouts(connection: Connection, group_id: str, wanted_ms: Mapping[str, int]) -> dict[str, int]:
    """Return the wanted session timeout, in milliseconds, if the group has another one; else nothing.

    A session timeout that cannot be read is taken for the default of the brokers. Raises `BrokerUnavailable`.
    """
    values_ms = await _read_as_admin(connection, group_id, wanted_ms)
    return {name: value_ms for name, value_ms in wanted_ms.items() if values_ms.get(name, DEFAULT_SESSION_TIMEOUT_MS) != value_ms}


async def _read_as_admin(connection: Connection, group_id: str, names: Collection[str]) -> dict[str, int]:
    async with admin_client(connection) as admin:
        return await read_group_settings(get_network_client(admin), group_id, names)


async def read_group_settings(client: AIOKafkaClient, group_id: str, names: Collection[str]) -> dict[str, int]:
    """Return settings of a group by name, in milliseconds. A group without a setting has that of the brokers.

    The result is empty without the right DescribeConfigs on the group, or if the brokers have no settings of groups. Raises
    `KafkaError`.
    """
    request = DescribeConfigsRequest([(GROUP_RESOURCE, group_id, list(names))])
    response = await send_to_any_broker(client, request, timeout_s=_ANSWER_TIMEOUT_S)
    code, _message, _kind, _name, entries = response.resources[0]
    return {} if code else {str(entry[0]): int(entry[1]) for entry in entries}
