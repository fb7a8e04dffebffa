"""A model is rolled out and back on a real Kafka: which one has read a record depends on its place alone, whatever dies."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.workers import Watcher, WorkerProcess, create, first_seen, produce
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from pathlib import Path

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

# Little at a time: most is still to come when something happens.
SLOW = {
    "max_batch_records": 8,
    "max_batch_tokens": 64,
    "max_backfill_batch_tokens": 64,
    "max_in_flight_tokens": 128,
    "resume_in_flight_tokens": 64,
    "max_poll_records": 16,
}


def write_plan(file: Path, *steps: tuple[str, int]) -> None:
    """Write a plan whose steps begin at the same offset of both partitions, as one file takes the place of another."""
    new = file.with_suffix(".new")
    new.write_text("".join(f'[[step]]\nmodel = "{name}"\nfrom = {{ 0 = {at}, 1 = {at} }}\n' for name, at in steps))
    new.rename(file)


async def logged(worker: WorkerProcess, event: str, count: int) -> None:
    """Return once a worker has logged an event so often."""
    while len(worker.events(event)) < count:  # noqa: ASYNC110  another process
        await asyncio.sleep(0.1)


async def test_a_model_takes_over_at_its_offset_and_hands_back(connection: Connection, topic: str, tmp_path: Path) -> None:
    """Under load, with a crash and a model that does not load, no record is lost and each has the model of its offset."""
    file, count = tmp_path / "rollout.toml", 700
    await create(connection, topic, num_partitions=2)

    async def send(first: int, end: int) -> None:
        await produce(connection, topic, ["one two three"] * (end - first), num_partitions=2, first=first)

    def worker() -> WorkerProcess:
        program = ("-m", "tests.integration.support.rolled_worker", "0.02")
        # A static member of the classic protocol does not wait for the session of its predecessor.
        settings = SLOW | {"model": "a", "rollout_file": file, "group_instance_id": "here", "group_protocol": "classic"}
        return WorkerProcess(connection.bootstrap_servers, topic, program=program, **settings)

    async with Watcher(connection, topic, num_expected=count) as watcher:
        with worker() as first:
            await first.ready()
            await send(0, 200)
            write_plan(file, ("b", 150))
            await logged(first, "model_loaded", 1)
            assert first.is_ready
            await send(200, 500)
            await watcher.until(lambda: watcher.account.num_accounted > 340)
            await first.end(signal.SIGKILL)
        write_plan(file, ("b", 150), ("bad", 250), ("a", 300))
        with worker() as second:
            await second.ready()
            await send(500, count)
            await watcher.all_accounted()
            assert len(second.events("rollout_failed")) == 1
            assert await asyncio.to_thread(second.metric, "gist_rollout_failures_total") == 1
            assert await second.end(signal.SIGTERM) == 0
    for offsets in watcher.order.values():
        assert first_seen(offsets) == list(range(count // 2))
    for _, record in watcher.records:
        headers = read_headers(record.headers)
        is_second = 150 <= int(headers["gist-source-offset"]) < 300
        assert headers["gist-model"] == (b"b@1" if is_second else b"a@1")
