"""Where a partition begins, on a real Kafka: chosen once, committed before anything is read, never chosen past a record."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support import transactions
from tests.integration.support.raw import add_partitions, delete_before
from tests.integration.support.reading import committed, until_committed
from tests.integration.support.workers import Watcher, WorkerProcess, create, map_topic_outputs
from tests.integration.worker.test_markers import DELIVERIES, FAST_MODEL, caught_up, values
from tests.integration.worker.test_topics_that_change import make_anew
from worker.broker.admin.offsets import commit_offsets, fetch_committed, fetch_log_bounds
from worker.broker.consumer.consumer import Consumer
from worker.broker.delivery.at_least_once import AtLeastOnce
from worker.broker.delivery.exactly_once import ExactlyOnce
from worker.broker.tools.clients import open_producer
from worker.errors import PublishFailed
from worker.records import Outcome, Output, Partition, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from worker.broker.connection.connection import Connection
    from worker.broker.membership.protocol_choice import GroupProtocolSetting

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


class Owner:
    """A member of the group that owns every partition, and its delivery; notes what is assigned and what happens."""

    def __init__(
        self, connection: Connection, topic: str, delivery: str, auto_offset_reset: str, group_protocol: GroupProtocolSetting
    ) -> None:
        self.partitions: set[Partition] = set()
        self.events: list[str] = []
        group_id = f"group-{topic}"
        topics = {topic: {Output.DEAD_LETTERS: f"{topic}.dlq"}}
        self.consumer = Consumer(
            connection,
            topics=[topic],
            group_id=group_id,
            auto_offset_reset=auto_offset_reset,
            group_protocol=group_protocol,
            on_event=lambda event, **_fields: self.events.append(event),
        )
        self.delivery = (
            AtLeastOnce(self.consumer, connection, topics=topics)
            if delivery == "at_least_once"
            else ExactlyOnce(self.consumer, connection, topics=topics, group_id=group_id)
        )

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Note them."""
        self.partitions |= set(partitions)

    async def open(self, partition: Partition) -> int:
        """Open a partition once it belongs to the member."""
        while True:
            with contextlib.suppress(PublishFailed):
                return await self.delivery.open(partition)
            await self.consumer.poll([], max_records=1)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Forget them."""
        self.partitions -= set(partitions)

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Treat the loss as a revocation."""
        await self.revoked(partitions)


@contextlib.asynccontextmanager
async def owning(
    connection: Connection,
    topic: str,
    delivery: str,
    *,
    num_partitions: int,
    auto_offset_reset: str = "latest",
    group_protocol: GroupProtocolSetting = "classic",
) -> AsyncIterator[Owner]:
    """Give a member once every partition is its own."""
    owner = Owner(connection, topic, delivery, auto_offset_reset, group_protocol)
    try:
        await owner.delivery.start()
        await owner.consumer.start(owner)
        while len(owner.partitions) < num_partitions:
            await owner.consumer.poll([], max_records=1)
        yield owner
    finally:
        await owner.delivery.stop()
        await owner.consumer.stop()


async def send(connection: Connection, topic: str, *, partition: int, count: int) -> None:
    """Append valid requests to a partition."""
    async with open_producer(connection) as producer:
        for value in values(count):
            await producer.send(topic, value, key=b"k", partition=partition)


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_the_latest_offset_is_chosen_once(connection: Connection, topic: str, delivery: str) -> None:
    """Records after a session without a read are processed in the same process, the next process and after a failure."""
    await create(connection, topic, num_partitions=2)
    one, two = Partition(topic, 0), Partition(topic, 1)
    await send(connection, topic, partition=0, count=5)
    async with owning(connection, topic, delivery, num_partitions=2) as owner:
        assert await asyncio.gather(*map(owner.delivery.open, (one, two))) == [5, 0]
        await until_committed(connection, f"group-{topic}", one, 5)
        await owner.delivery.forget(one)
        await send(connection, topic, partition=0, count=3)
        await send(connection, topic, partition=1, count=3)
        assert await owner.delivery.open(one) == 5
        await owner.delivery.forget(two)
        assert await owner.delivery.open(two) == 0
        await owner.delivery.publish(one, [Outcome(Record(one, 5, b"k", b"v"))])
        await owner.delivery.commit([one])
    async with owning(connection, topic, delivery, num_partitions=2) as owner:
        assert [await owner.delivery.open(partition) for partition in (one, two)] == [6, 0]


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_partition_that_was_added_begins_at_its_first_record(connection: Connection, topic: str, delivery: str) -> None:
    """This holds with idle partitions and offsets of an earlier version; a new group starts at the end."""
    await create(connection, topic, num_partitions=2)
    await send(connection, topic, partition=1, count=4)
    one, two, three, four = (Partition(topic, index) for index in range(4))
    async with owning(connection, topic, delivery, num_partitions=2) as owner:
        # The session of the other partition has not been opened yet: the group began when both partitions were there.
        assert await owner.delivery.open(one) == 0
        await owner.delivery.publish(one, [Outcome(Record(one, 0, b"k", b"v"))])
        await owner.delivery.commit([one])
    await add_partitions(connection, topic, num_partitions=3)
    await send(connection, topic, partition=2, count=3)
    async with owning(connection, topic, delivery, num_partitions=3) as owner:
        assert [await owner.delivery.open(partition) for partition in (two, three)] == [4, 0]
    # Another program's commits say nothing of how the group began.
    await commit_offsets(connection, f"group-{topic}", {one: 0, two: 1, three: 1})
    await add_partitions(connection, topic, num_partitions=4)
    await send(connection, topic, partition=3, count=3)
    async with owning(connection, topic, delivery, num_partitions=4) as owner:
        assert [await owner.delivery.open(partition) for partition in (one, two, three, four)] == [0, 1, 1, 0]


@pytest.mark.parametrize(("delivery", "group_protocol"), [("at_least_once", "consumer"), ("exactly_once", "classic")])
async def test_a_topic_that_is_made_anew_begins_at_its_first_record(
    connection: Connection, topic: str, delivery: str, group_protocol: GroupProtocolSetting
) -> None:
    """All its records came after the group began: the start at the end was that of the deleted topic."""
    await create(connection, topic, num_partitions=2)
    await send(connection, topic, partition=0, count=5)
    home, group_id = Partition(topic, 0), f"group-{topic}"
    async with owning(connection, topic, delivery, num_partitions=2, group_protocol=group_protocol) as owner:
        assert await owner.open(home) == 5
        owner.consumer.seek(home, 5)
        await make_anew(connection, topic, num_partitions=2)
        await send(connection, topic, partition=0, count=7)
        await send(connection, topic, partition=1, count=3)
        while await fetch_committed(connection, group_id, [home]):  # noqa: ASYNC110  a broker has no event to wait for
            await asyncio.sleep(0.01)
        if delivery == "at_least_once":
            # The worker has had no session of this partition.
            assert await owner.open(Partition(topic, 1)) == 0
        await owner.delivery.forget(home)
        assert await owner.open(home) == 0
        assert owner.events == ["committed_offset_out_of_range"]


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("auto_offset_reset", ["earliest", "latest"])
async def test_the_start_is_committed_where_retention_takes_records(
    connection: Connection, topic: str, delivery: str, auto_offset_reset: str
) -> None:
    """Records that are deleted before they were read are reported, also those of a partition that never had a commit."""
    await create(connection, topic, num_partitions=1)
    home = Partition(topic, 0)
    async with owning(connection, topic, delivery, num_partitions=1, auto_offset_reset=auto_offset_reset) as owner:
        assert await owner.delivery.open(home) == 0
    await send(connection, topic, partition=0, count=5)
    await delete_before(connection, home, 3)
    async with owning(connection, topic, delivery, num_partitions=1, auto_offset_reset=auto_offset_reset) as owner:
        assert await owner.delivery.open(home) == 3
        assert owner.events == ["committed_offset_out_of_range"]
        await owner.delivery.forget(home)
        assert await owner.delivery.open(home) == 3
        assert len(owner.events) == 1


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_worker_that_begins_at_the_end_loses_nothing_afterwards(connection: Connection, topic: str, delivery: str) -> None:
    """A restart and a new partition lose no record; only earlier records are skipped."""
    await create(connection, topic, num_partitions=3)
    for index in range(2):
        await send(connection, topic, partition=index, count=4)
    settings: dict[str, Any] = {"program": FAST_MODEL, "delivery": delivery, "auto_offset_reset": "latest"}
    with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
        await worker.ready()
        assert await worker.end(signal.SIGTERM) == 0
    for name in (topic, *map_topic_outputs(topic)):
        await add_partitions(connection, name, num_partitions=4)
    for index in range(4):
        await send(connection, topic, partition=index, count=2)
    async with Watcher(connection, topic, num_expected=8) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
            await watcher.until(lambda: watcher.account.num_accounted >= 8)
            await caught_up(connection, worker, [Partition(topic, index) for index in range(4)])
    assert [watcher.order[Output.EMBEDDINGS, index] for index in range(4)] == [[4, 5], [4, 5], [0, 1], [0, 1]]


@pytest.mark.parametrize("is_commit", [True, False])
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_committed_offset_in_an_open_transaction_is_in_range(
    connection: Connection, topic: str, delivery: str, *, is_commit: bool
) -> None:
    """Readers of uncommitted records commit there: the worker waits, and goes on there when the transaction ends."""
    await create(connection, topic, num_partitions=1)
    home, group_id = Partition(topic, 0), f"group-{topic}"
    await send(connection, topic, partition=0, count=5)
    settings: dict[str, Any] = {"program": FAST_MODEL, "delivery": delivery}
    async with Watcher(connection, topic, num_expected=1) as watcher:
        async with transactions.transaction(connection, topic, is_commit=is_commit) as producer:
            for value in values(3):
                await producer.send_and_wait(topic, value, key=b"k", partition=0)
            assert (await fetch_log_bounds(connection, [home]))[home].end == 5
            await commit_offsets(connection, group_id, {home: 7})
            with WorkerProcess(connection.bootstrap_servers, topic, **settings) as worker:
                await worker.ready()
                assert await worker.end(signal.SIGTERM) == 0
                assert worker.events("committed_offset_out_of_range") == []
            assert await committed(connection, group_id, [home]) == [7]
            # The last offset that a reader of uncommitted records can commit.
            async with owning(connection, topic, delivery, num_partitions=1, auto_offset_reset="none") as owner:
                assert [await owner.consumer.find_start(home, offset) for offset in (5, 8)] == [5, 8]
                assert owner.events == []
            worker = WorkerProcess(connection.bootstrap_servers, topic, **settings).start()
            await worker.ready()
        try:
            await caught_up(connection, worker, [home])
            assert worker.events("committed_offset_out_of_range") == []
            assert worker.events("fetch_stuck") == []
        finally:
            await worker.end(signal.SIGTERM)
        if is_commit:
            await watcher.until(lambda: watcher.account.num_accounted >= 1)
    assert watcher.order.get((Output.EMBEDDINGS, 0), []) == ([7] if is_commit else [])
