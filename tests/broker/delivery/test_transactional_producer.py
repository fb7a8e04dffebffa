"""The transactional producer on a real Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import ProducerFenced

from tests.integration.support.reading import committed, until_committed
from worker.broker.admin.topics import create_missing
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.records import Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


def build_producer(connection: Connection, name: str) -> TransactionalProducer:
    """Return a producer that is not started."""
    return TransactionalProducer(connection, transactional_id=name, transaction_timeout_s=10, compression=None, max_bytes={})


async def test_an_offset_is_committed_with_its_transaction(connection: Connection, topic: str) -> None:
    await create_missing(connection, {topic: 1})
    producer = build_producer(connection, topic)
    await producer.start(10)
    await producer.begin(5)
    await producer.send_offset(Partition(topic, 0), 7, topic, 5)
    assert await committed(connection, topic, [Partition(topic, 0)]) == [0]
    await producer.commit(5)
    await until_committed(connection, topic, Partition(topic, 0), 7)
    await producer.discard()


async def test_a_second_producer_with_the_same_id_fences_the_first(connection: Connection, topic: str) -> None:
    """The next step of the first one raises, and `is_fenced` recognises the exception."""
    await create_missing(connection, {topic: 1})
    first, second = build_producer(connection, topic), build_producer(connection, topic)
    await first.start(10)
    await first.begin(5)
    assert not first.is_fenced(TimeoutError())
    await second.start(10)
    with pytest.raises(ProducerFenced) as caught:
        await first.send_offset(Partition(topic, 0), 7, topic, 5)
    assert first.is_fenced(caught.value)
    await first.discard()
    await second.discard()
