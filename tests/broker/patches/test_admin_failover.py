"""The patch that lets an admin client ask the next broker. `test_topics.py` runs it against a real broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError

from worker.broker.patches.admin_failover import send_to_any_broker


def build_client(*, available: set[int], num_brokers: int = 3, hanging: frozenset[int] = frozenset()) -> Any:
    """Return a network client of a cluster in which some brokers are available, and some never answer."""

    async def send(node_id: int, _request: object) -> int:
        if node_id in hanging:
            await asyncio.Event().wait()
        if node_id not in available:
            raise KafkaConnectionError(str(node_id))
        return node_id

    brokers = [SimpleNamespace(nodeId=number) for number in range(num_brokers)]
    return SimpleNamespace(send=send, cluster=SimpleNamespace(brokers=lambda: brokers), get_random_node=lambda: 0)


async def test_aiokafka_asks_one_broker_only() -> None:
    admin: Any = SimpleNamespace(_client=build_client(available={1, 2}))
    with pytest.raises(KafkaConnectionError):
        await AIOKafkaAdminClient._send_request(admin, SimpleNamespace())


async def test_the_next_broker_is_asked_until_one_answers() -> None:
    assert await send_to_any_broker(build_client(available={2}), object()) == 2


async def test_a_broker_that_hangs_is_passed_over_after_the_timeout() -> None:
    assert await send_to_any_broker(build_client(available={2}, hanging=frozenset({0, 1})), object(), timeout_s=0.01) == 2
    with pytest.raises(RequestTimedOutError):
        await send_to_any_broker(build_client(available=set(), hanging=frozenset({0, 1, 2})), object(), timeout_s=0.01)


async def test_the_last_error_is_raised_if_no_broker_answers() -> None:
    with pytest.raises(KafkaConnectionError):
        await send_to_any_broker(build_client(available=set()), object())
    with pytest.raises(NodeNotReadyError):
        await send_to_any_broker(build_client(available=set(), num_brokers=0), object())
