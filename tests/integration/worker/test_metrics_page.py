"""The metrics that rules, dashboards and autoscalers name, on the page of a real worker."""

from __future__ import annotations

import asyncio
import re
import signal
import urllib.request
from typing import TYPE_CHECKING

import promql_parser
import pytest

from deploy import check
from tests.integration.support.workers import Watcher, WorkerProcess, create, produce

if TYPE_CHECKING:
    from pathlib import Path

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def named_metrics() -> set[str]:
    """Return the metrics of the worker that an alert, a panel or an autoscaler reads."""
    names = {name for _, query in check.queries() for name in check.metrics_in(promql_parser.parse(query))}
    return {name for name in names if name.startswith("gist_")}


def shown_metrics(port: int) -> set[str]:
    """Return the names on the page that have at least one sample."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return set(re.findall(r"^(\w+)[{ ]", answer.read().decode(), re.MULTILINE))


@pytest.mark.parametrize("has_rollout", [False, True])
async def test_every_metric_that_is_read_somewhere_has_a_sample(
    connection: Connection, topic: str, tmp_path: Path, *, has_rollout: bool
) -> None:
    """A worker that has processed records without any fault shows all of them, with and without a rollout."""
    await create(connection, topic, num_partitions=1)
    await produce(connection, topic, ["one two three"] * 20, num_partitions=1)
    options = {"rollout_file": tmp_path / "rollout.toml"} if has_rollout else {}
    program = ("-m", "tests.integration.support.rolled_worker", "0.01")
    worker = WorkerProcess(connection.bootstrap_servers, topic, program=program, model="a", **options)
    with worker:
        async with Watcher(connection, topic, num_expected=20) as watcher:
            await watcher.all_accounted()
        names = named_metrics()
        assert "gist_model_info" in names
        # The load is shown after a first look at the worker, and its capacity after two looks at a worker with work.
        while names - await asyncio.to_thread(shown_metrics, worker.port):
            await produce(connection, topic, ["one two three"] * 20, num_partitions=1)
        assert await worker.end(signal.SIGTERM) == 0
