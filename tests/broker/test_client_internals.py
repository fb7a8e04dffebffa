"""The private attributes of aiokafka's clients that the worker uses. A release that changes them fails here, with a real broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.structs import OffsetAndMetadata

from worker.broker import client_internals
from worker.broker.admin.client import admin_client
from worker.broker.admin.topics import create_missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


@pytest.fixture
async def consumer(connection: Connection, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a member of a group that owns the topic's only partition, at offset 0."""
    await create_missing(connection, {topic: 1})
    member = AIOKafkaConsumer(
        topic,
        **connection.options(),
        group_id=topic,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await member.start()
    try:
        while not member.assignment():
            await member.getmany(timeout_ms=100)
        yield member
    finally:
        await member.stop()


@pytest.fixture
async def producer(connection: Connection, topic: str) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a transactional producer."""
    client = AIOKafkaProducer(**connection.options(), transactional_id=topic)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def test_a_consumer_has_the_attributes(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
    key = TopicPartition(topic, 0)
    async with producer.transaction():
        await producer.send_and_wait(topic, b"value", partition=0)
        assert await consumer.end_offsets([key]) == {key: 0}
        assert await client_internals.fetch_high_watermarks(consumer, [key], 5_000) == {key: 1}
    assert client_internals.find_dead_task(consumer) is None
    assert client_internals.read_position(consumer, TopicPartition(topic, 1)) is None
    while not client_internals.has_buffered(consumer, key):
        await consumer.getmany(TopicPartition("", -1), timeout_ms=50)
    assert client_internals.read_position(consumer, key) == 0
    await consumer.commit({key: OffsetAndMetadata(1, "note")})
    assert await client_internals.fetch_committed_with_metadata(consumer, [key]) == {key: OffsetAndMetadata(1, "note")}


async def test_a_dropped_connection_to_a_coordinator_is_replaced(consumer: AIOKafkaConsumer, topic: str) -> None:
    client = client_internals.get_network_client(consumer)
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, topic)
    key = coordinator, ConnectionGroup.COORDINATION
    before = client._conns[key]
    client_internals.drop_coordinator_connection(client, coordinator)
    assert not before.connected()
    await consumer.commit({TopicPartition(topic, 0): 0})
    assert client._conns[key].connected()


async def test_a_consumer_without_a_group_has_no_task_of_a_group(connection: Connection) -> None:
    async with AIOKafkaConsumer(**connection.options()) as consumer:
        # A stop before the first turn of aiokafka's tasks raises an error.
        await asyncio.sleep(0)
        assert client_internals.find_dead_task(consumer) is None


async def test_the_responses_of_a_consumer_are_observed(consumer: AIOKafkaConsumer) -> None:
    observed: list[Any] = []
    client_internals.observe_responses(consumer, lambda request, response: observed.append((request, response)))
    await consumer.getmany(timeout_ms=100)
    await consumer.commit({next(iter(consumer.assignment())): 0})
    assert any(type(request).__name__ == "OffsetCommitRequest" for request, _ in observed)


async def test_a_producer_has_the_attributes(producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str) -> None:
    del consumer
    await producer.begin_transaction()
    client_internals.add_to_transaction(producer, TopicPartition(topic, 0))
    assert await client_internals.find_group_coordinator(producer, topic) >= 0
    await producer.abort_transaction()
    assert not client_internals.has_fatal_error(producer)
    client_internals.retrieve_transaction_failure(producer)


async def test_a_discarded_producer_leaves_no_task_behind(connection: Connection) -> None:
    before = asyncio.all_tasks()
    producer = AIOKafkaProducer(**connection.options())
    await producer.start()
    await client_internals.discard_producer(producer)
    assert asyncio.all_tasks() == before


async def test_an_admin_client_has_a_network_client(connection: Connection) -> None:
    async with admin_client(connection) as admin:
        assert client_internals.get_network_client(admin).cluster.brokers()
