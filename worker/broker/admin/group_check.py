"""The check whether a group accepts the worker as a member."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from worker.broker.admin.client import admin_client
from worker.broker.admin.permissions import Right, check_access
from worker.broker.client_internals import get_network_client
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.membership import Membership

# A coordinator that is loading its state answers with a retriable error. Seconds between two attempts, and their number.
_RETRY_INTERVAL_S, _MAX_ATTEMPTS = 0.2, 25


async def check_group(connection: Connection, membership: Membership) -> None:
    """Join the group and leave it at once. Raises `BrokerUnavailable` if the group refuses the worker.

    The broker makes all its checks before it assigns a member id and asks the new member to join again with this id. A group with
    other members rebalances once, when the id is given back. Only an unambiguous refusal counts.
    """
    async with admin_client(connection) as admin:
        client = get_network_client(admin)
        await check_access(connection, client, [Right("Read", "group", membership.group_id)])
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                code = await _join_and_leave(client, membership)
                break
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(_RETRY_INTERVAL_S)
        else:
            code = await _join_and_leave(client, membership)
    if refusal := membership.explain_refusal(code):
        raise BrokerUnavailable(refusal)


async def _join_and_leave(client: AIOKafkaClient, membership: Membership) -> int:
    """Return the error code for a new member. Raises `KafkaError` while the coordinator is unavailable."""
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, membership.group_id)
    response = await client.send(coordinator, membership.build_join_request())
    if for_code(response.error_code).retriable:
        raise for_code(response.error_code)
    if response.member_id:
        await client.send(coordinator, LeaveGroupRequest(membership.group_id, response.member_id))
    return int(response.error_code)
