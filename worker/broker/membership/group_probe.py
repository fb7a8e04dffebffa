"""The check whether a group accepts the worker as a member of the consumer protocol, without joining it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.errors import for_code

from worker.broker.admin.client import admin_client
from worker.broker.admin.group_settings import DEFAULT_SESSION_TIMEOUT_MS
from worker.broker.admin.groups import retry_while_loading
from worker.broker.admin.permissions import Right, check_access
from worker.broker.client_internals import get_network_client
from worker.broker.membership.coordinator import CoordinatorLink
from worker.broker.membership.member_state import TRANSIENT_CODES
from worker.broker.membership.protocol_choice import choose_group_protocol
from worker.broker.membership.refusals import explain_refusal
from worker.broker.membership.requests import build_probe
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.connection.connection import Connection
    from worker.broker.membership.protocol_choice import GroupProtocolSetting, ProtocolChoice

# INVALID_REGULAR_EXPRESSION: the group has no other objection to the request.
_ACCEPTED_CODE = 128
_TIMEOUT_S = 5.0


async def probe_group(
    connection: Connection,
    group_id: str,
    topics: Sequence[str],
    protocol: GroupProtocolSetting,
    *,
    session_timeout_ms: int = DEFAULT_SESSION_TIMEOUT_MS,
) -> ProtocolChoice:
    """Return the protocol that the worker uses; with `consumer` also ask the group with a request to join.

    Raises `BrokerUnavailable` if a broker does not offer the protocol, or the group refuses the worker.
    """
    async with admin_client(connection) as admin:
        client = get_network_client(admin)
        chosen = await choose_group_protocol(admin, protocol, group_id=group_id, session_timeout_ms=session_timeout_ms)
        if chosen.protocol == "classic":
            return chosen
        await check_access(connection, client, [Right("Read", "group", group_id)])
        link, request = CoordinatorLink(client, group_id), build_probe(group_id, topics)

        async def ask() -> Any:
            response = await link.send(request, _TIMEOUT_S)
            if response.error_code in TRANSIENT_CODES:
                raise for_code(response.error_code)(group_id)
            return response

        response = await retry_while_loading(ask)
    if response.error_code != _ACCEPTED_CODE:
        words = response.error_message or ""
        raise BrokerUnavailable(explain_refusal(response.error_code, words, group_id=group_id, instance_id=None))
    return chosen
