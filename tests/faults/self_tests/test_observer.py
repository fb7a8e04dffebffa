"""What hangs is seen: a transaction that nobody ended, an offset that nobody committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from tests.faults.lab.observer import Reader, fetch_ends, map_topics
from tests.faults.lab.oracle import Oracle
from tests.faults.lab.workload import Workload
from tests.integration.support.workers import create
from worker.records import Output

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


async def test_a_transaction_that_is_open_hangs_and_is_not_read(connection: Connection, topic: str) -> None:
    """The open transaction is reported by partition until the commit; then its records are read."""
    servers, oracle = connection.bootstrap_servers, Oracle(Workload(2), "exactly_once")
    await create(connection, topic, num_partitions=2)
    reader = Reader(servers, map_topics(topic), 2, oracle)
    headers = [("gist-source-partition", b"1"), ("gist-source-offset", b"0")]
    async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=topic) as producer:
        await producer.begin_transaction()
        value = Workload(2).expected(Output.LABELS, 1)
        await producer.send_and_wait(f"{topic}.labels", value, key=b"1", partition=1, headers=headers)
        ends = await fetch_ends(servers, topic, map_topics(topic), 2)
        assert ends.hanging == {f"{topic}.labels-1": (0, 1)}
        assert (ends.inputs, ends.committed) == ([0, 0], [0, 0])
        await reader.read_to_end()
        assert oracle.num_seen == 0
        await producer.commit_transaction()
    # The broker says that it is committed before the readers may have it.
    while (await fetch_ends(servers, topic, map_topics(topic), 2)).hanging:  # noqa: ASYNC110  brokers do not call us
        await asyncio.sleep(0.05)
    await reader.read_to_end()
    assert oracle.num_seen == 1
    assert oracle.violations() == []
