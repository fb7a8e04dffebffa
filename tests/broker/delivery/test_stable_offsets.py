"""Committed and stable offsets, from a real coordinator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.client import CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError

from tests.integration.support.reading import until_committed
from worker.broker.admin.topics import create_missing
from worker.broker.delivery.stable_offsets import UnstableOffset, fetch_committed_offset
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.records import Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


async def test_an_offset_is_unstable_until_its_transaction_ends(connection: Connection, topic: str) -> None:
    """The offset of another partition stays stable. Without `require_stable` the stable offset is returned."""
    await create_missing(connection, {topic: 2})
    mine, other = Partition(topic, 0), Partition(topic, 1)
    producer = TransactionalProducer(connection, transactional_id=topic, transaction_timeout_s=10, compression=None, max_bytes={})
    await producer.start(10)
    try:
        await producer.begin(5)
        await producer.send_offset(mine, 7, topic, 5)
        client = producer._client.client
        node_id = await producer._client._sender._find_coordinator(CoordinationType.GROUP, topic)
        with pytest.raises(UnstableOffset):
            await fetch_committed_offset(client, node_id, topic, mine, require_stable=True)
        assert await fetch_committed_offset(client, node_id, topic, mine, require_stable=False) is None
        assert await fetch_committed_offset(client, node_id, topic, other, require_stable=True) is None
        await producer.commit(5)
        await until_committed(connection, topic, mine, 7)
        assert await fetch_committed_offset(client, node_id, topic, mine, require_stable=True) == 7
    finally:
        await producer.discard()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            {"error_code": 0, "topics": [("texts", [(0, -1, -1, "", NotCoordinatorForGroupError.errno, {})], {})]},
            NotCoordinatorForGroupError,
        ),
        ({"error_code": GroupCoordinatorNotAvailableError.errno, "topics": []}, GroupCoordinatorNotAvailableError),
    ],
)
async def test_a_broker_that_is_not_the_coordinator_raises(answer: dict[str, Any], error: type[Exception]) -> None:
    """The error code may be that of the partition or that of the response."""

    async def send(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(**answer)

    client: Any = SimpleNamespace(send=send)
    with pytest.raises(error, match="cannot be read"):
        await fetch_committed_offset(client, 1, "group", Partition("texts", 0), require_stable=True)
