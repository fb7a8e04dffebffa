"""A worker opens no connection but those to its brokers, endpoints and probes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.watching import addresses, watched_environment
from tests.integration.support.workers import Watcher, WorkerProcess, create, produce

if TYPE_CHECKING:
    from pathlib import Path

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(300)]
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
TEXTS = ["Ada Lovelace moved to London.", "ok"]


async def test_a_worker_connects_to_its_brokers_alone(connection: Connection, topic: str, tmp_path: Path) -> None:
    """From its start over some results to its end."""
    await create(connection, topic, num_partitions=1)
    await produce(connection, topic, TEXTS, num_partitions=1)
    worker = WorkerProcess(connection.bootstrap_servers, topic, dtype="float32")
    worker.environment = dict(watched_environment(tmp_path))
    with worker:
        async with Watcher(connection, topic, num_expected=len(TEXTS)) as watcher:
            await watcher.all_accounted()
        assert await worker.end(signal.SIGTERM) == 0
    brokers = {address.rpartition(":")[0] for address in connection.bootstrap_servers.split(",")}
    ports = {address.rpartition(":")[2] for address in connection.bootstrap_servers.split(",")}
    found = addresses(tmp_path)
    assert any(port in ports for _, port in found)
    assert {(host, port) for host, port in found if port not in ports | {str(worker.port)}} == set()
    assert {host for host, _ in found} <= brokers | LOOPBACK
