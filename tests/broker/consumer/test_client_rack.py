"""The rack of the worker, on a real Kafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.protocol.fetch import FetchRequest

from worker.broker.admin import topics as admin
from worker.broker.consumer.consumer import Consumer
from worker.broker.tools.clients import open_producer
from worker.records import Partition, Record

if TYPE_CHECKING:
    from collections.abc import Collection

    from worker.broker.connection.connection import Connection
    from worker.broker.events import BrokerEvent

pytestmark = pytest.mark.kafka


class _Listener:
    """Notes the assigned partitions."""

    def __init__(self) -> None:
        self.partitions = asyncio.Event()

    def assigned(self, _partitions: Collection[Partition]) -> None:
        """Note an assignment."""
        self.partitions.set()

    async def revoked(self, _partitions: Collection[Partition]) -> None:
        """Do nothing."""

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Treat the loss as a revocation."""
        await self.revoked(partitions)


def _ignore(event: BrokerEvent, **fields: object) -> None:
    """Drop an event."""


async def test_fetches_name_the_rack_and_return_the_records(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fetch has the rack of the worker. A broker without rack-aware replicas serves the records as before."""
    racks: list[str] = []
    original: Any = FetchRequest.__init__

    def note(self: Any, *arguments: Any, **options: Any) -> None:
        racks.append(options.get("rack_id", ""))
        original(self, *arguments, **options)

    monkeypatch.setattr(FetchRequest, "__init__", note)
    await admin.create_missing(connection, {topic: 1})
    async with open_producer(connection) as producer:
        await producer.send(topic, b"{}", partition=0)
    partition, listener = Partition(topic, 0), _Listener()
    consumer = Consumer(connection, topics=[topic], group_id=f"group-{topic}", on_event=_ignore, client_rack="zone-a")
    await consumer.start(listener)
    try:
        await consumer.poll([], max_records=1)
        await listener.partitions.wait()
        consumer.seek(partition, 0)
        records: list[object] = []
        while not any(isinstance(record, Record) for record in records):
            records += await consumer.poll([partition], max_records=10)
    finally:
        await consumer.stop()
    assert "zone-a" in racks
