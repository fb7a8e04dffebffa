"""A producer that is dropped whenever anything is in doubt leaves nothing behind."""

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


async def test_a_producer_that_finds_no_broker_says_so_and_is_gone() -> None:
    """The failure asks for another session, and nothing goes on in the background."""
    producer = BatchProducer(Connection(bootstrap_servers=f"127.0.0.1:{free_port()}"), compression=None, max_bytes={})
    with pytest.raises(PublishFailed, match="no producer could be started"):
        await producer.start(5)
    await producer.discard()
    assert len(asyncio.all_tasks()) == 1


async def test_a_producer_whose_start_is_cancelled_leaves_no_connection_behind() -> None:
    """As when a partition is revoked while its producer starts: the client warns of what nobody closed when it is collected."""
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


async def test_dropping_a_producer_whose_broker_is_away_ends_what_it_does_in_the_background(own_kafka: EmbeddedKafka) -> None:
    """Also the search for a coordinator, which the client would go on with for ever."""
    connection = Connection(bootstrap_servers=own_kafka.bootstrap_servers, request_timeout_ms=2_000)
    producer = TransactionalProducer(connection, transactional_id="t", transaction_timeout_s=10, compression=None, max_bytes={})
    await producer.start(10)
    await producer.begin(5)
    await asyncio.to_thread(own_kafka.kill)
    with pytest.raises(TimeoutError):
        await producer.commit(1) if await _is_used(producer) else None
    await producer.discard()
    assert len(asyncio.all_tasks()) == 1


async def _is_used(producer: TransactionalProducer) -> bool:
    """Put an offset into the transaction, which then cannot end without a broker."""
    producer._client._txn_manager.consumer_group_added("g")
    return True
