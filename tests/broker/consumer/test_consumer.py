"""The consumer on a real Kafka: no record lost to backpressure, to a poisoned batch, to a dead task or to retention."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from tests.integration.support.raw import delete_before, flip_last_byte, produce_poisoned
from worker.broker.admin.topics import create_missing
from worker.broker.connection.connection import Connection
from worker.broker.consumer.consumer import Consumer
from worker.broker.tools.clients import open_producer, open_transaction
from worker.errors import BadSettings, BrokerUnavailable, ConsumerBroken, PublishFailed
from worker.records import Partition, Record, UnreadableRange
from worker.testbed.embedded_kafka import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from pathlib import Path

    from worker.records import EmptyRange

pytestmark = pytest.mark.kafka


class Group:
    """Listens as the pipeline does, and notes what it is told."""

    def __init__(self) -> None:
        self.assigned_now: set[Partition] = set()
        self.revocations: list[set[Partition]] = []
        self.events: list[tuple[str, dict[str, object]]] = []

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Note them."""
        self.assigned_now = set(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Note them."""
        self.revocations.append(set(partitions))

    def on_event(self, event: str, **fields: object) -> None:
        """Note it."""
        self.events.append((event, fields))


async def seek_start(consumer: Consumer, partition: Partition) -> int:
    """Read a partition from its start offset, and return the offset."""
    start = await consumer.find_start(partition, await consumer.committed(partition))
    consumer.seek(partition, start)
    return start


@contextlib.asynccontextmanager
async def joined(
    connection: Connection, topic: str, *, num_partitions: int, seek: bool = True, **options: Any
) -> AsyncIterator[tuple[Consumer, Group]]:
    """Create a topic, join a group on it, and open every partition."""
    await create_missing(connection, {topic: num_partitions})
    group = Group()
    consumer = Consumer(
        connection,
        topics=[topic],
        group_id=f"group-{topic}",
        on_event=group.on_event,
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        **options,
    )
    await consumer.start(group)
    try:
        while len(group.assigned_now) < num_partitions:
            await consumer.poll([], max_records=1)
        if seek:
            for partition in sorted(group.assigned_now):
                await seek_start(consumer, partition)
        yield consumer, group
    finally:
        await consumer.stop()


async def send(connection: Connection, topic: str, *, partition: int, values: Sequence[bytes]) -> None:
    """Append values to a partition."""
    async with open_producer(connection) as producer:
        for value in values:
            await producer.send(topic, value, partition=partition)


async def backlog(connection: Connection, topic: str, consumer: Consumer, *, num_partitions: int) -> list[Partition]:
    """Append 200 records to each partition, and return the partitions once the consumer has heard of all."""
    for partition in range(num_partitions):
        await send(connection, topic, partition=partition, values=[b"%d" % n for n in range(200)])
    while set(consumer.lag().values()) != {200}:
        assert await consumer.poll([], max_records=1) == []
    return [Partition(topic, index) for index in range(num_partitions)]


async def receive(
    consumer: Consumer, partitions: Collection[Partition], count: int, *, max_records: int = 100
) -> list[Record | UnreadableRange | EmptyRange]:
    """Poll until so much has come; the test's own time limit bounds it."""
    received: list[Record | UnreadableRange | EmptyRange] = []
    while len(received) < count:
        received += await consumer.poll(partitions, max_records=max_records)
    return received


def numbers(received: Sequence[Record | UnreadableRange | EmptyRange], partition: int) -> list[int]:
    """Return the offsets of a partition's records."""
    return [it.offset for it in received if it.partition.index == partition]


async def test_a_partition_that_is_left_out_loses_nothing(connection: Connection, topic: str) -> None:
    """Backpressure is leaving it out: its records come later, in order, and its neighbour's meanwhile."""
    async with joined(connection, topic, num_partitions=2) as (consumer, _):
        one, two = Partition(topic, 0), Partition(topic, 1)
        for partition in (0, 1):
            await send(connection, topic, partition=partition, values=[b"%d" % n for n in range(50)])
        first = await receive(consumer, [one], 50, max_records=7)
        assert numbers(first, 0) == list(range(50))
        assert numbers(first, 1) == []
        while consumer.lag() != {one: 0, two: 50}:
            assert await consumer.poll([one], max_records=1) == []
        assert numbers(await receive(consumer, [one, two], 50), 1) == list(range(50))


async def test_partitions_take_turns(connection: Connection, topic: str) -> None:
    """Under a backlog everywhere, no partition is emptied before the others are begun."""
    async with joined(connection, topic, num_partitions=4) as (consumer, _):
        everybody = await backlog(connection, topic, consumer, num_partitions=4)
        received = await receive(consumer, everybody, 200, max_records=40)
        shares = [len(numbers(received, partition)) for partition in range(4)]
        assert min(shares) >= 20, shares


async def test_a_partition_that_was_just_opened_hands_over_little_at_first(connection: Connection, topic: str) -> None:
    """Whoever takes over partitions with a backlog serves all of them soon, and then as much of each as there is."""
    async with joined(connection, topic, num_partitions=4) as (consumer, _):
        everybody = await backlog(connection, topic, consumer, num_partitions=4)
        first = await consumer.poll(everybody, max_records=1000)
        assert [len(numbers(first, partition)) for partition in range(4)] == [8] * 4
        second = await consumer.poll(everybody, max_records=1000)
        assert [len(numbers(second, partition)) for partition in range(4)] == [192] * 4


async def test_nothing_comes_of_a_partition_that_is_not_open(connection: Connection, topic: str) -> None:
    """The records wait between assignment and `seek`, and after `pause`."""
    async with joined(connection, topic, num_partitions=1, seek=False) as (consumer, _):
        home = Partition(topic, 0)
        await send(connection, topic, partition=0, values=[b"a", b"b"])
        for _ in range(3):
            assert await consumer.poll([home], max_records=10) == []
        assert await seek_start(consumer, home) == 0
        assert numbers(await receive(consumer, [home], 2), 0) == [0, 1]
        consumer.pause(home)
        await send(connection, topic, partition=0, values=[b"c"])
        for _ in range(3):
            assert await consumer.poll([home], max_records=10) == []
        await consumer.commit({home: 1})
        assert await seek_start(consumer, home) == 1
        assert numbers(await receive(consumer, [home], 2), 0) == [1, 2]


async def test_a_header_key_that_is_not_utf8_costs_its_own_batch_and_nobody_else(connection: Connection, topic: str) -> None:
    """What stands before it is read, the range is named, and both partitions go on in order."""
    async with joined(connection, topic, num_partitions=2) as (consumer, group):
        one, two = Partition(topic, 0), Partition(topic, 1)
        await send(connection, topic, partition=0, values=[b"before"])
        await produce_poisoned(connection, Partition(topic, 0), [b"good", b"poison", b"unread", b"unread too"], poisoned=1)
        await send(connection, topic, partition=0, values=[b"after", b"after too"])
        await send(connection, topic, partition=1, values=[b"%d" % n for n in range(20)])
        received = await receive(consumer, [one, two], 25)
        assert numbers(received, 1) == list(range(20))
        holes = [it for it in received if isinstance(it, UnreadableRange)]
        assert [(it.partition, it.offset, it.next_offset, it.error) for it in holes] == [(one, 2, 5, "UnicodeDecodeError")]
        assert numbers(received, 0) == [0, 1, 2, 5, 6]
        assert "unreadable_range" in [event for event, _ in group.events]


async def test_a_batch_that_rotted_on_the_brokers_disk_is_named_as_a_range(topic: str, tmp_path: Path) -> None:
    """A checksum that does not fit is tried again and then given up; the batches around it are read."""
    broker = EmbeddedKafka(directory=tmp_path / "kafka").start()
    try:
        way = Connection(bootstrap_servers=broker.bootstrap_servers)
        await create_missing(way, {topic: 1})
        for values in ([b"before"], [b"a", b"b", b"rotten"], [b"after"]):
            await send(way, topic, partition=0, values=values)
        await asyncio.to_thread(broker.stop)
        flip_last_byte(tmp_path / "kafka" / "logs" / f"{topic}-0" / f"{0:020}.log", b"rotten")
        await asyncio.to_thread(broker.start)
        async with joined(way, topic, num_partitions=1) as (consumer, _):
            received = await receive(consumer, [Partition(topic, 0)], 3)
    finally:
        await asyncio.to_thread(broker.stop)
    assert [(it.offset, it.next_offset) for it in received] == [(0, 1), (1, 4), (4, 5)]
    assert isinstance(received[1], UnreadableRange)
    assert received[1].error == "CorruptRecordException"


async def test_a_fetch_task_that_died_is_noticed(connection: Connection, topic: str) -> None:
    """The next poll says so; a new start reads on from the committed offset."""
    async with joined(connection, topic, num_partitions=1) as (consumer, group):
        home = Partition(topic, 0)
        assert consumer._client is not None
        task = consumer._client._fetcher._fetch_task
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ConsumerBroken, match="fetch task"):
            await consumer.poll([home], max_records=1)
        await consumer.stop()
        group.assigned_now = set()
        await consumer.start(group)
        while not group.assigned_now:
            await consumer.poll([], max_records=1)
        await seek_start(consumer, home)
        await send(connection, topic, partition=0, values=[b"x"])
        assert numbers(await receive(consumer, [home], 1), 0) == [0]


@pytest.mark.parametrize("name", ["coordination", "heartbeat"])
async def test_a_task_of_the_group_that_died_is_noticed(connection: Connection, topic: str, name: str) -> None:
    """Without it we would be cast out of the group and not know."""
    async with joined(connection, topic, num_partitions=1) as (consumer, _):
        assert consumer._client is not None
        task = getattr(consumer._client._coordinator, f"_{name}_task")
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ConsumerBroken, match=f"{name} task"):
            await consumer.poll([], max_records=1)


async def test_a_committed_offset_that_the_log_no_longer_holds_is_loud(connection: Connection, topic: str) -> None:
    """Retention was faster: reading begins at the first record that is left, and somebody is told."""
    async with joined(connection, topic, num_partitions=1) as (consumer, group):
        home = Partition(topic, 0)
        await send(connection, topic, partition=0, values=[b"%d" % n for n in range(10)])
        await consumer.commit({home: 2})
        await delete_before(connection, home, 6)
        assert await seek_start(consumer, home) == 6
        assert [event for event, _ in group.events] == ["committed_offset_out_of_range"]
        assert numbers(await receive(consumer, [home], 4), 0) == [6, 7, 8, 9]


async def test_a_position_that_falls_out_of_the_log_breaks_the_consumer(connection: Connection, topic: str) -> None:
    """It must not jump silently: whoever polls is told, and `find_start` finds the way."""
    async with joined(connection, topic, num_partitions=1) as (consumer, _):
        home = Partition(topic, 0)
        await send(connection, topic, partition=0, values=[b"%d" % n for n in range(10)])
        await delete_before(connection, home, 8)
        assert consumer._fetcher is not None
        consumer._fetcher.seek(home, 3)
        with pytest.raises(ConsumerBroken, match="no longer contains"):
            await receive(consumer, [home], 1)


async def test_where_to_start_without_a_committed_offset_is_a_setting(connection: Connection, topic: str) -> None:
    """At the first record, behind the last, or nowhere."""
    await create_missing(connection, {topic: 1})
    await send(connection, topic, partition=0, values=[b"a", b"b"])
    home = Partition(topic, 0)
    async with joined(connection, topic, num_partitions=1, seek=False, auto_offset_reset="latest") as (consumer, _):
        assert await seek_start(consumer, home) == 2
    async with joined(connection, topic, num_partitions=1, seek=False, auto_offset_reset="none") as (consumer, _):
        with pytest.raises(BadSettings, match="no usable committed offset"):
            await seek_start(consumer, home)


async def test_only_what_is_ours_is_committed(connection: Connection, topic: str) -> None:
    """A partition of another topic, or one that is gone, is left out silently; ours is committed."""
    async with joined(connection, topic, num_partitions=1) as (consumer, _):
        await send(connection, topic, partition=0, values=[b"a"])
        await consumer.commit({Partition("somebody-elses", 0): 5, Partition(topic, 0): 1})
        await consumer.commit({Partition("somebody-elses", 0): 6})
    probe = AIOKafkaConsumer(bootstrap_servers=connection.bootstrap_servers, group_id=f"group-{topic}", enable_auto_commit=False)
    await probe.start()
    assert await probe.committed(TopicPartition(topic, 0)) == 1
    await probe.stop()


@pytest.mark.parametrize("code", [14, 15, 16])
async def test_a_coordinator_that_takes_over_is_asked_again(
    connection: Connection, topic: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers that it is loading, not available or not the one: the group has not therefore committed nothing."""
    answers = [OffsetFetchResponse_v3(0, [], code)] * 2
    network_send = AIOKafkaConnection.send

    async def answering(network: AIOKafkaConnection, request: object, **options: Any) -> Any:
        answer = await network_send(network, request, **options)
        return answers.pop() if isinstance(request, OffsetFetchRequest) and answers else answer

    async with joined(connection, topic, num_partitions=1) as (consumer, _):
        await send(connection, topic, partition=0, values=[b"x"] * 5)
        await consumer.commit({Partition(topic, 0): 3})
        monkeypatch.setattr(AIOKafkaConnection, "send", answering)
        assert await consumer.committed(Partition(topic, 0)) == 3
        assert answers == []


async def test_a_consumer_that_is_not_started_says_so(connection: Connection, topic: str) -> None:
    """Nothing pretends to work; stopping it is no error."""
    consumer = Consumer(connection, topics=[topic], group_id="g", on_event=Group().on_event)
    with pytest.raises(ConsumerBroken, match="not started"):
        await consumer.poll([], max_records=1)
    assert consumer.lag() == {}
    await consumer.stop()


async def test_a_broker_that_is_not_there_stops_the_start(topic: str) -> None:
    """With one line that names the address."""
    consumer = Consumer(Connection(bootstrap_servers="127.0.0.1:1"), topics=[topic], group_id="g", on_event=Group().on_event)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        await consumer.start(Group())


async def test_a_committed_offset_that_cannot_be_read_is_doubt(own_kafka: EmbeddedKafka, topic: str) -> None:
    """The session is tried again later, not begun at a guess."""
    way = Connection(bootstrap_servers=own_kafka.bootstrap_servers, request_timeout_ms=2000)
    async with joined(way, topic, num_partitions=1, seek=False, step_timeout_s=1.0) as (consumer, _):
        await asyncio.to_thread(own_kafka.kill)
        with pytest.raises(PublishFailed, match="cannot be read"):
            await seek_start(consumer, Partition(topic, 0))


async def test_a_fetch_task_that_hangs_is_noticed_and_nothing_else_is_taken_for_one(connection: Connection, topic: str) -> None:
    """Neither an idle topic, nor one that ends with the marker of a transaction, nor one that is asked for nothing."""
    home = Partition(topic, 0)
    async with joined(connection, topic, num_partitions=1, look_interval_s=0.05, stuck_after_s=0.5) as (consumer, group):
        async with open_transaction(connection, name=f"marker-{topic}") as producer:
            await producer.send(topic, b"x", partition=0)
        await receive(consumer, [home], 1)

        async def looked(partitions: list[Partition], num_looks: int) -> None:
            """Poll until the brokers were asked so often where the topic ends."""
            for _ in range(num_looks):
                before = consumer._stall_probe.due_s
                while consumer._stall_probe.due_s == before and partitions:
                    await consumer.poll(partitions, max_records=1)

        await looked([home], 15)
        assert consumer._client is not None
        consumer._client._fetcher._get_actions_per_node = lambda _assignment: ([], {}, 3600.0, False, [])
        # The round that was under way when the fault came still fetches the first of them.
        await send(connection, topic, partition=0, values=[b"y"])
        await send(connection, topic, partition=0, values=[b"z"])
        for _ in range(3):
            assert await consumer.poll([], max_records=1) == []
        with pytest.raises(ConsumerBroken, match=f"hangs: it returns no records of {topic}-0"):
            await looked([home], 1_000)
        assert group.events == [("fetch_stuck", {"partitions": [f"{topic}-0"]})]
