"""Whether an offset hangs, as a real coordinator tells it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.client import CoordinationType
from aiokafka.errors import NotCoordinatorForGroupError

from tests.integration.reading import until_committed
from worker.broker.hanging import offset_hangs
from worker.broker.topics import create_missing
from worker.broker.transactional import TransactionalProducer
from worker.records import Partition

if TYPE_CHECKING:
    from worker.broker.connection import Connection

pytestmark = pytest.mark.kafka


async def test_an_offset_hangs_until_its_transaction_ends(connection: Connection, topic: str) -> None:
    """That of another partition does not, and neither does one that was never committed."""
    await create_missing(connection, {topic: 2})
    mine, other = Partition(topic, 0), Partition(topic, 1)
    producer = TransactionalProducer(connection, transactional_id=topic, transaction_timeout_s=10, compression=None, max_bytes={})
    await producer.start(10)
    try:
        await producer.begin(5)
        await producer.send_offset(mine, 7, topic, 5)
        client = producer._client.client
        node_id = await producer._client._sender._find_coordinator(CoordinationType.GROUP, topic)
        assert await offset_hangs(client, node_id, topic, mine)
        assert not await offset_hangs(client, node_id, topic, other)
        assert not await offset_hangs(client, node_id, f"{topic}-nobody", mine)
        await producer.commit(5)
        await until_committed(connection, topic, mine, 7)
        assert not await offset_hangs(client, node_id, topic, mine)
    finally:
        await producer.discard()


async def test_who_is_not_the_coordinator_says_so() -> None:
    """Neither yes nor no."""

    async def send(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(error_code=0, topics=[("texts", [(0, -1, -1, "", NotCoordinatorForGroupError.errno, {})], {})])

    client: Any = SimpleNamespace(send=send)
    with pytest.raises(NotCoordinatorForGroupError, match="cannot be asked for"):
        await offset_hangs(client, 1, "group", Partition("texts", 0))
