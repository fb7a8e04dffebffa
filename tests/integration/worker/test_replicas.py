"""Several real workers under one supervisor, on a real Kafka: they share the work, and one that is killed comes back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.workers import RESULTS, Watcher, WorkerProcess, create, produce
from worker.commands.repair import lag
from worker.settings import read

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection
    from worker.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
PROGRAM = ("-P", "-m", "worker", "run", "--replicas", "2")


async def test_replicas_share_the_work_survive_a_kill_and_drain_together(
    connection: Connection, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No record is lost, the order is kept, and the lag of the group is 0 at the end."""
    await create(connection, topic, num_partitions=4)
    texts = [f"Ada moved to Paris {number} times." for number in range(300)]
    with WorkerProcess(connection.bootstrap_servers, topic, program=PROGRAM, group_instance_id="here") as workers:
        await workers.ready()
        await produce(connection, topic, texts, num_partitions=4)
        async with Watcher(connection, topic, num_expected=300) as watcher:
            await watcher.until(lambda: watcher.account.num_accounted >= 100)
            started = workers.events("replica_started")
            os.kill(int(str(started[0]["pid"])), signal.SIGKILL)
            await watcher.until(lambda: watcher.account.num_missing == 0)
        await workers.ready()
        page = await asyncio.to_thread(_metrics, workers.port)
        assert 'gist_replica_restarts_total{how="SIGKILL",replica="0"} 1.0' in page
        assert "gist_build_info{" in page
        assert {'replica="0"', 'replica="1"'} == {label for label in ('replica="0"', 'replica="1"', 'replica="2"') if label in page}
        threads = workers.events("supervising")[0]["threads"]
        assert isinstance(threads, list)
        assert len(threads) == 2
        # The one that came back does again what was not committed, and may be ready before it has begun.
        settings = read({"bootstrap_servers": connection.bootstrap_servers, "input_topic": topic, "group_id": f"group-{topic}"})
        while (await _lag(settings, capsys))["lag"]:
            pass
        assert await workers.end(signal.SIGTERM) == 0
        assert {event["replica"] for event in workers.events("stopped")} == {0, 1}
    assert all(sorted(set(watcher.order[output, index])) == list(range(75)) for output in RESULTS for index in range(4))
    found = await _lag(settings, capsys)
    assert (found["lag"], [partition["committed"] for partition in found["partitions"]]) == (0, [75] * 4)
    await produce(connection, topic, texts[:8], num_partitions=4, first=300)
    await asyncio.to_thread(lag.lag, settings, is_json=False)
    shown = capsys.readouterr().out
    assert f"{topic}-0" in shown
    assert shown.split()[-1] == "8"


async def _lag(settings: Settings, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the group's lag, as programs read it."""
    capsys.readouterr()
    await asyncio.to_thread(lag.lag, settings, is_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())
