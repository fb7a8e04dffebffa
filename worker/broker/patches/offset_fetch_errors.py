"""Patch: raise the error of a whole OffsetFetch response.

aiokafka: reads the error codes of the partitions only. A coordinator that is loading its state names no partition and
sets the error code of the response.
Why it matters: aiokafka would report that the group has no committed offset, and the worker would start at the first or
last record.
Reference: KIP-88 introduced the error code of the response. Another client had the same defect: Parsely/pykafka#958.
Needed until: `tests/broker/patches/test_offset_fetch_errors.py::test_aiokafka_ignores_the_error_of_a_whole_response` fails.
"""

from __future__ import annotations

from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.commit import OffsetFetchRequest

_send = AIOKafkaClient.send


async def _send_checked(client: AIOKafkaClient, node_id: int, request: object, **options: Any) -> Any:
    """Send a request and return the response, or raise the error of an OffsetFetch response."""
    response = await _send(client, node_id, request, **options)
    if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
        raise for_code(code)
    return response


def patch_offset_fetch_errors() -> None:
    """Check the OffsetFetch responses of all clients of this process."""
    AIOKafkaClient.send = _send_checked
