"""Offsets without records on a real Kafka: the worker commits markers and aborted records, and they are no lag."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.commands.test_dlq_command import invoke
from tests.integration.support import transactions
from tests.integration.support.raw import delete_before
from tests.integration.support.reading import until_committed
from tests.integration.support.workers import Watcher, WorkerProcess, create
from worker.broker.admin import topics
from worker.broker.admin.offsets import fetch_group_offsets, fetch_log_bounds
from worker.broker.tools.clients import open_producer
from worker.records import Output, Partition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

DELIVERIES = ("at_least_once", "exactly_once")
FAST_MODEL = ("-m", "tests.integration.support.slow_worker", "0")


def values(count: int) -> list[bytes]:
    """Return valid requests."""
    return [json.dumps({"id": f"id-{number}", "text": f"text {number}"}).encode() for number in range(count)]


async def caught_up(connection: Connection, worker: WorkerProcess, partitions: Sequence[Partition]) -> None:
    """Wait until the group stands at the end of each partition, and the worker and the command show no lag."""
    ends = await fetch_log_bounds(connection, partitions)
    for partition in partitions:
        await until_committed(connection, f"group-{partitions[0].topic.removesuffix('.old')}", partition, ends[partition].end)
    for name in ("gist_fetch_lag_records", "gist_backlog_tokens", "gist_backlog_drain_seconds", "gist_in_flight_tokens"):
        while await asyncio.to_thread(worker.metric, name):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.1)


async def fetch_lag(connection: Connection, topic: str, group_id: str) -> list[int]:
    """Return the lag of each partition as `gist-stream lag` shows it."""
    _, found = await fetch_group_offsets(connection, topic, group_id)
    return [partition.lag for partition in found]


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_transactions_leave_no_lag(connection: Connection, topic: str, delivery: str) -> None:
    """The lag is 0 after committed, aborted, empty and open transactions, and a restart repeats nothing."""
    names = [f"{topic}-{partition}" for partition in range(4)]
    places = [Partition(topic, index) for index in range(4)]
    await create(connection, topic, num_partitions=4)
    settings: dict[str, Any] = {"program": FAST_MODEL, "delivery": delivery}
    async with Watcher(connection, topic, num_expected=31) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
            await worker.ready()
            # Records and their marker, aborted records after records, aborted records alone, a marker alone.
            await transactions.write(connection, names[0], places[0], values(20))
            await transactions.write(connection, names[1], places[1], values(10))
            await transactions.write(connection, names[1], places[1], values(5), is_commit=False)
            await transactions.write(connection, names[2], places[2], values(3), is_commit=False)
            await transactions.write_marker(connection, names[3], places[3])
            await watcher.until(lambda: watcher.account.num_accounted >= 30)
            await caught_up(connection, worker, places)
            assert await fetch_lag(connection, topic, f"group-{topic}") == [0] * 4
            # While a transaction is open, its records are no lag either.
            async with transactions.transaction(connection, names[3], is_commit=False) as producer:
                await producer.send_and_wait(topic, values(1)[0], key=b"k", partition=3)
                await caught_up(connection, worker, places)
            await caught_up(connection, worker, places)
            assert await worker.end(signal.SIGTERM) == 0
        # All that the log still has is deleted up to its end: what was committed is still in range.
        for place, ends in (await fetch_log_bounds(connection, places)).items():
            await delete_before(connection, place, ends.end)
        with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
            await worker.ready()
            await transactions.write(connection, names[0], places[2], values(1))
            await watcher.until(lambda: watcher.account.num_accounted >= 31)
            await caught_up(connection, worker, places)
            assert worker.events("committed_offset_out_of_range") == []
            assert worker.events("session_ended") == []
    assert watcher.account.num_duplicates == 0
    assert watcher.order[Output.EMBEDDINGS, 2] == [4]


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_backfill_and_a_replay_leave_no_lag(connection: Connection, topic: str, delivery: str) -> None:
    """The lag is 0 after a backfill topic with transactions, and after `dlq replay`."""
    backfill = f"{topic}.old"
    await create(connection, topic, num_partitions=1)
    await topics.create_missing(connection, {backfill: 1})
    await transactions.write(connection, topic, Partition(backfill, 0), [*values(5), b'{"text": "poison"}'])
    async with open_producer(connection) as producer:
        for value in (*values(5), b'{"text": "poison"}'):
            await producer.send(topic, value, key=b"k")
    async with Watcher(connection, topic, num_expected=12) as watcher:
        worker = WorkerProcess(
            connection.bootstrap_servers, topic, program=FAST_MODEL, delivery=delivery, backfill_topic=backfill, max_batch_records=1
        )
        with worker:
            letters = watcher.order.setdefault((Output.DEAD_LETTERS, 0), [])
            await watcher.until(lambda: len(letters) == 2)
            flags = ("--backfill-topic", backfill)
            assert (
                await asyncio.to_thread(invoke, connection, topic, "replay", "--execute", *flags)
                == f"2 replayed into {topic} and {backfill}\n"
            )
            await watcher.until(lambda: len(letters) == 4)
            await caught_up(connection, worker, [Partition(topic, 0), Partition(backfill, 0)])
            for name in (topic, backfill):
                assert await fetch_lag(connection, name, f"group-{topic}") == [0]
