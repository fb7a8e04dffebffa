"""Brokers die, freeze and come back, and the cluster goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from worker.broker.admin.topics import create_missing
from worker.broker.connection.connection import Connection

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.faults]


async def test_the_cluster_goes_on_without_the_leader(cluster: Cluster, topic: str) -> None:
    """Records are acknowledged while the leader of their partition is killed, frozen or stopped, and afterwards."""
    await create_missing(Connection(bootstrap_servers=cluster.bootstrap_servers), {topic: 1})
    async with AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers, enable_idempotence=True, request_timeout_ms=5_000
    ) as producer:
        for away, back in ((cluster.kill, cluster.restart), (cluster.suspend, cluster.resume), (cluster.stop, cluster.restart)):
            leader = await cluster.find_leader(topic, 0)
            away(leader)
            await producer.send_and_wait(topic, b"without")
            assert await cluster.find_leader(topic, 0) != leader
            back(leader)
            assert cluster.is_running(leader)
            await cluster.in_sync()
        await producer.send_and_wait(topic, b"after")
