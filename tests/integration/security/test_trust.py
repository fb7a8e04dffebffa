"""A worker on a real Kafka over a topic whose records have the wrong shape, all of them or the first, in both delivery modes."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.reading import committed, read_all, until_committed
from tests.integration.support.workers import RESULTS, Watcher, WorkerProcess, create, map_topic_outputs, produce
from worker.broker.tools.clients import open_producer
from worker.errors import TooManyDeadLetters
from worker.records import Output, Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

DELIVERIES = pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
# Longer than any test: what is held stays held.
FOR_EVER_MS = 600_000


async def produce_wrong(connection: Connection, topic: str, count: int, *, num_partitions: int = 1) -> None:
    """Send records whose text has another name, spread evenly over the partitions."""
    async with open_producer(connection) as producer:
        for number in range(count):
            value = json.dumps({"id": f"wrong-{number}", "body": "hello"}).encode()
            await producer.send(topic, value, key=b"%d" % number, partition=number % num_partitions)


async def num_published(connection: Connection, topic: str, num_partitions: int) -> int:
    """Return how many messages the outputs of a topic hold."""
    places = [(output, index) for output in map_topic_outputs(topic) for index in range(num_partitions)]
    return sum([len(await read_all(connection, output, partition=index)) for output, index in places])


@DELIVERIES
async def test_a_topic_of_the_wrong_shape_stops_the_worker_and_loses_nothing(
    connection: Connection, topic: str, delivery: str
) -> None:
    """An exit code of its own, a line with the reason and the fields, nothing published or committed; the next start stops too."""
    num_partitions = 3
    await create(connection, topic, num_partitions=num_partitions)
    await produce_wrong(connection, topic, 1_500, num_partitions=num_partitions)
    for _ in range(2):
        with WorkerProcess(connection.bootstrap_servers, topic, delivery=delivery) as worker:
            assert worker.process is not None
            assert await asyncio.to_thread(worker.process.wait, 120) == TooManyDeadLetters.exit_code
            (line,) = [line for line in worker.log.read_text().splitlines() if "fields seen" in line and "{" not in line[:1]]
            assert "there is no `text`" in line
            assert "id, body" in line
            assert len(worker.events("dead_letters_held")) == 1
    assert await num_published(connection, topic, num_partitions) == 0
    assert await committed(connection, f"group-{topic}", [Partition(topic, index) for index in range(num_partitions)]) == [0, 0, 0]


@DELIVERIES
async def test_bad_records_before_the_first_result_are_published_once_and_in_order(
    connection: Connection, topic: str, delivery: str
) -> None:
    """They are held, also over a worker that is told to stop, until a record of another partition has a result."""
    num_partitions, num_wrong = 2, 20
    await create(connection, topic, num_partitions=num_partitions)
    await produce_wrong(connection, topic, num_wrong)
    settings: dict[str, Any] = {"delivery": delivery, "dead_letter_hold_ms": FOR_EVER_MS}
    with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
        while not worker.events("dead_letters_held"):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.1)
        assert await worker.end(signal.SIGTERM) == 0
    assert await num_published(connection, topic, num_partitions) == 0
    assert await committed(connection, f"group-{topic}", [Partition(topic, 0)]) == [0]
    async with Watcher(connection, topic, num_expected=num_wrong + 2) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
            await worker.ready()
            await produce(connection, topic, ["hello", "good evening"], num_partitions=num_partitions, first=num_wrong + 1)
            await watcher.until(lambda: sum(len(offsets) for offsets in watcher.order.values()) == num_wrong + 2 * len(RESULTS))
            await until_committed(connection, f"group-{topic}", Partition(topic, 0), num_wrong + 1)
            assert await worker.end(signal.SIGTERM) == 0
            (line,) = worker.events("dead_letters")
            assert (line["published"], line["level"]) == (num_wrong, "warning")
            assert line["reasons"] == {"decode: InvalidRecord: there is no `text`; fields seen: id, body": num_wrong}
    assert watcher.order[Output.DEAD_LETTERS, 0] == list(range(num_wrong))
    assert watcher.order[Output.EMBEDDINGS, 0] == [num_wrong]


@DELIVERIES
async def test_a_topic_with_only_a_few_bad_records_gets_them_as_dead_letters(
    connection: Connection, topic: str, delivery: str
) -> None:
    """Without any result they are published and committed after the time that dead letters are held."""
    await create(connection, topic, num_partitions=1)
    await produce_wrong(connection, topic, 5)
    async with Watcher(connection, topic, num_expected=5) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, delivery=delivery, dead_letter_hold_ms=500) as worker:
            await watcher.until(lambda: watcher.order.get((Output.DEAD_LETTERS, 0)) == list(range(5)))
            await until_committed(connection, f"group-{topic}", Partition(topic, 0), 5)
            assert await worker.end(signal.SIGTERM) == 0


@DELIVERIES
async def test_a_run_of_dead_letters_stops_a_trusted_worker_that_has_a_limit_for_it(
    connection: Connection, topic: str, delivery: str
) -> None:
    """What would complete the run is neither published nor committed; without the limit every bad record costs only itself."""
    num_wrong = 300
    await create(connection, topic, num_partitions=1)
    await produce(connection, topic, ["hello"], num_partitions=1)
    await produce_wrong(connection, topic, num_wrong)
    with WorkerProcess(connection.bootstrap_servers, topic, delivery=delivery, max_consecutive_dead_letters=150) as worker:
        assert worker.process is not None
        assert await asyncio.to_thread(worker.process.wait, 120) == TooManyDeadLetters.exit_code
        assert "GIST_MAX_CONSECUTIVE_DEAD_LETTERS" in worker.log.read_text()
    assert len(await read_all(connection, f"{topic}.{Output.DEAD_LETTERS}")) < 150
    assert (await committed(connection, f"group-{topic}", [Partition(topic, 0)]))[0] <= 150
    # After a restart the topic earns its trust anew, and the run is longer than the limit before the first result.
    settings: dict[str, Any] = {"delivery": delivery, "max_consecutive_failures": 1_000, "dead_letter_hold_ms": 500}
    with WorkerProcess(connection.bootstrap_servers, topic, **settings):
        await until_committed(connection, f"group-{topic}", Partition(topic, 0), num_wrong + 1)
