"""One transactional producer: its steps, and what it notices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import NodeNotReadyError, ProducerFenced, RequestTimedOutError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import EndTxnRequest

from tests.integration.support.reading import committed, until_committed
from worker.broker.admin.topics import create_missing
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.broker.patches.unanswered_requests import watch_unanswered_requests
from worker.records import Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka

END = EndTxnRequest(transactional_id="t", producer_id=1, producer_epoch=1, transaction_result=True)


def producer_of(connection: Connection, name: str) -> TransactionalProducer:
    """Return a producer that is not yet started."""
    return TransactionalProducer(connection, transactional_id=name, transaction_timeout_s=10, compression=None, max_bytes={})


async def test_an_offset_counts_once_its_transaction_is_committed(connection: Connection, topic: str) -> None:
    """Not before."""
    await create_missing(connection, {topic: 1})
    producer = producer_of(connection, topic)
    await producer.start(10)
    await producer.begin(5)
    await producer.send_offset(Partition(topic, 0), 7, topic, 5)
    assert await committed(connection, topic, [Partition(topic, 0)]) == [0]
    await producer.commit(5)
    await until_committed(connection, topic, Partition(topic, 0), 7)
    await producer.discard()


async def test_the_second_of_a_name_shuts_out_the_first(connection: Connection, topic: str) -> None:
    """The first learns it from its next step, and `is_fenced` tells it from other failures."""
    await create_missing(connection, {topic: 1})
    first, second = producer_of(connection, topic), producer_of(connection, topic)
    await first.start(10)
    await first.begin(5)
    assert not first.is_fenced(TimeoutError())
    await second.start(10)
    with pytest.raises(ProducerFenced) as caught:
        await first.send_offset(Partition(topic, 0), 7, topic, 5)
    assert first.is_fenced(caught.value)
    await first.discard()
    await second.discard()


@pytest.mark.parametrize(
    ("request_", "error", "is_doubtful"),
    [
        (
            EndTxnRequest(transactional_id="t", producer_id=1, producer_epoch=1, transaction_result=True),
            RequestTimedOutError(),
            True,
        ),
        (END, NodeNotReadyError(), False),
        (MetadataRequest([]), RequestTimedOutError(), False),
    ],
)
async def test_only_a_request_of_a_transaction_that_may_still_arrive_is_a_doubt(
    connection: Connection, request_: object, error: Exception, *, is_doubtful: bool
) -> None:
    """Not one that never left, and not one that changes nothing."""
    producer = producer_of(connection, "doubt")

    async def failing(*_: Any, **__: Any) -> None:
        raise error

    network: Any = SimpleNamespace(send=failing)
    watch_unanswered_requests(network, producer.mark_doubtful)
    with pytest.raises(type(error)):
        await network.send(0, request_)
    assert producer.is_doubtful is is_doubtful
    await producer.discard()
