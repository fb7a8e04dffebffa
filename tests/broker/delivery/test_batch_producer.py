"""The producer of batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.ports import free_port
from worker.broker.connection.connection import Connection
from worker.broker.delivery.batch_producer import BatchProducer
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.errors import PublishFailed

if TYPE_CHECKING:
    from worker.testbed.embedded_kafka import EmbeddedKafka

pytestmark = pytest.mark.kafka


async def test_a_producer_without_a_broker_fails_and_leaves_no_task_behind() -> None:
    """The exception ends the session."""
    producer = BatchProducer(Connection(bootstrap_servers=f"127.0.0.1:{free_port()}"), compression=None, max_bytes={})
    with pytest.raises(PublishFailed, match="no producer could be started"):
        await producer.start(5)
    await producer.discard()
    assert len(asyncio.all_tasks()) == 1


async def test_a_cancelled_start_leaves_no_connection_behind() -> None:
    """A partition may be revoked while its producer starts."""
    connected = asyncio.Event()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await over.wait()
        writer.close()
        await writer.wait_closed()

    over = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1") as silent:
        host, port = silent.sockets[0].getsockname()
        producer = BatchProducer(Connection(bootstrap_servers=f"{host}:{port}"), compression=None, max_bytes={})
        start = asyncio.create_task(producer.start(5))
        await connected.wait()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert producer._client._closed
        over.set()


async def test_a_producer_discarded_without_a_broker_leaves_no_task_behind(own_kafka: EmbeddedKafka) -> None:
    """Aiokafka would search for a coordinator without end."""
    connection = Connection(bootstrap_servers=own_kafka.bootstrap_servers, request_timeout_ms=2_000)
    producer = TransactionalProducer(connection, transactional_id="t", transaction_timeout_s=10, compression=None, max_bytes={})
    await producer.start(10)
    await producer.begin(5)
    await asyncio.to_thread(own_kafka.kill)
    with pytest.raises(TimeoutError):
        await producer.commit(1) if await _add_offset(producer) else None
    await producer.discard()
    assert len(asyncio.all_tasks()) == 1


async def _add_offset(producer: TransactionalProducer) -> bool:
    """Add an offset to the transaction, which cannot end without a broker after that."""
    producer._client._txn_manager.consumer_group_added("g")
    return True
