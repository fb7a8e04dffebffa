"""The check whether a group accepts the worker as a member."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.client import CoordinationType
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import InconsistentGroupProtocolError, NoError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from worker.broker.admin.client import admin_client
from worker.broker.admin.groups import describe_group_with, retry_while_loading
from worker.broker.admin.permissions import Right, check_access
from worker.broker.client_internals import get_network_client
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.client import AIOKafkaClient

    from worker.broker.admin.groups import GroupDescription
    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.membership import Membership

# A rebalancing group has no assignor yet. Seconds between two descriptions, and their number.
_POLL_INTERVAL_S, _MAX_POLLS = 0.2, 25
# A protocol type that no group has. Brokers refuse it after all other checks of a request to join.
_NO_TYPE = "gist-stream-check"


async def check_group(connection: Connection, membership: Membership) -> GroupDescription:
    """Return the group as it was before the check. Raises `BrokerUnavailable` if the group refuses the worker.

    A group without members is joined and left at once. A group with members is not joined, because that would revoke their
    partitions: its assignor is compared, and it gets a request to join that it refuses, with its first objection as the reason.
    """
    async with admin_client(connection) as admin:
        client = get_network_client(admin)
        await check_access(connection, client, [Right("Read", "group", membership.group_id)])
        group = await _describe_settled(admin, membership.group_id)
        code = await retry_while_loading(lambda: _ask(client, membership, joins=not group.members))
    if shares_otherwise(group):
        code = InconsistentGroupProtocolError.errno
    if refusal := membership.explain_refusal(code):
        raise BrokerUnavailable(refusal)
    return group


async def _describe_settled(admin: AIOKafkaAdminClient, group_id: str) -> GroupDescription:
    """Return the description of a group after its rebalance, or after five seconds."""
    for _ in range(_MAX_POLLS):
        group = await describe_group_with(admin, group_id)
        if not group.members or group.protocol != "classic" or group.assignor:
            break
        await asyncio.sleep(_POLL_INTERVAL_S)
    return group


def shares_otherwise(group: GroupDescription) -> bool:
    """Tell whether the members of a classic group share the partitions in another way than workers do."""
    if group.protocol != "classic" or not group.members:
        return False
    return group.protocol_type != ConsumerProtocol.PROTOCOL_TYPE or group.assignor not in {"", RoundRobinPartitionAssignor.name}


async def _ask(client: AIOKafkaClient, membership: Membership, *, joins: bool) -> int:
    """Return the error code for a new member. Raises `KafkaError` while the coordinator is unavailable."""
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, membership.group_id)
    request = membership.build_join_request() if joins else membership.build_join_request(_NO_TYPE)
    response = await client.send(coordinator, request)
    if for_code(response.error_code).retriable:
        raise for_code(response.error_code)
    if response.member_id:
        await client.send(coordinator, LeaveGroupRequest(membership.group_id, response.member_id))
    has_objection = joins or response.error_code != InconsistentGroupProtocolError.errno
    return int(response.error_code) if has_objection else NoError.errno
