"""The consumer on a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from tests.integration.support.raw import delete_before, delete_topic, flip_last_byte, produce_poisoned
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
    """Records assignments, revocations and events."""

    def __init__(self) -> None:
        self.assigned_now: set[Partition] = set()
        self.revocations: list[set[Partition]] = []
        self.events: list[tuple[str, dict[str, object]]] = []

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Record the assigned partitions."""
        self.assigned_now = set(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Record the revoked partitions."""
        self.revocations.append(set(partitions))

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Treat the loss as a revocation."""
        await self.revoked(partitions)

    def on_event(self, event: str, **fields: object) -> None:
        """Record the event."""
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
    """Create a topic, join a group on it, and with `seek` open every partition."""
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


async def build_backlog(connection: Connection, topic: str, consumer: Consumer, *, num_partitions: int) -> list[Partition]:
    """Append 200 records to each partition, and return the partitions once the consumer knows all ends."""
    for partition in range(num_partitions):
        await send(connection, topic, partition=partition, values=[b"%d" % n for n in range(200)])
    while set(consumer.lag().values()) != {200}:
        assert await consumer.poll([], max_records=1) == []
    return [Partition(topic, index) for index in range(num_partitions)]


async def receive(
    consumer: Consumer, partitions: Collection[Partition], count: int, *, max_records: int = 100
) -> list[Record | UnreadableRange | EmptyRange]:
    """Poll until `count` records have arrived."""
    received: list[Record | UnreadableRange | EmptyRange] = []
    while len(received) < count:
        received += await consumer.poll(partitions, max_records=max_records)
    return received


def numbers(received: Sequence[Record | UnreadableRange | EmptyRange], partition: int) -> list[int]:
    """Return the offsets of a partition's records."""
    return [record.offset for record in received if record.partition.index == partition]


async def test_a_partition_that_is_not_polled_loses_no_record(connection: Connection, topic: str) -> None:
    """This is backpressure: the records come later, in order, and those of the other partition come meanwhile."""
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


async def test_partitions_with_a_backlog_are_read_in_turn(connection: Connection, topic: str) -> None:
    """No partition is read to its end before the others are read."""
    async with joined(connection, topic, num_partitions=4) as (consumer, _):
        partitions = await build_backlog(connection, topic, consumer, num_partitions=4)
        received = await receive(consumer, partitions, 200, max_records=40)
        shares = [len(numbers(received, partition)) for partition in range(4)]
        assert min(shares) >= 20, shares


async def test_the_first_poll_of_a_partition_returns_few_records(connection: Connection, topic: str) -> None:
    """After a takeover of many partitions with a backlog, all of them are served soon."""
    async with joined(connection, topic, num_partitions=4) as (consumer, _):
        partitions = await build_backlog(connection, topic, consumer, num_partitions=4)
        first = await consumer.poll(partitions, max_records=1000)
        assert [len(numbers(first, partition)) for partition in range(4)] == [8] * 4
        second = await consumer.poll(partitions, max_records=1000)
        assert [len(numbers(second, partition)) for partition in range(4)] == [192] * 4


async def test_a_partition_returns_records_only_between_seek_and_pause(connection: Connection, topic: str) -> None:
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


async def test_a_header_key_that_is_not_utf8_makes_only_its_batch_unreadable(connection: Connection, topic: str) -> None:
    """The records before it are read, the range is reported, and both partitions continue in order."""
    async with joined(connection, topic, num_partitions=2) as (consumer, group):
        one, two = Partition(topic, 0), Partition(topic, 1)
        await send(connection, topic, partition=0, values=[b"before"])
        await produce_poisoned(connection, Partition(topic, 0), [b"good", b"poison", b"unread", b"unread too"], poisoned=1)
        await send(connection, topic, partition=0, values=[b"after", b"after too"])
        await send(connection, topic, partition=1, values=[b"%d" % n for n in range(20)])
        received = await receive(consumer, [one, two], 25)
        assert numbers(received, 1) == list(range(20))
        ranges = [record for record in received if isinstance(record, UnreadableRange)]
        assert [(found.partition, found.offset, found.next_offset, found.error) for found in ranges] == [
            (one, 2, 5, "UnicodeDecodeError")
        ]
        assert numbers(received, 0) == [0, 1, 2, 5, 6]
        assert "unreadable_range" in [event for event, _ in group.events]


async def test_a_batch_with_a_wrong_checksum_is_an_unreadable_range(topic: str, tmp_path: Path) -> None:
    """The batches before and after it are read."""
    broker = EmbeddedKafka(directory=tmp_path / "kafka").start()
    try:
        connection = Connection(bootstrap_servers=broker.bootstrap_servers)
        await create_missing(connection, {topic: 1})
        for values in ([b"before"], [b"a", b"b", b"rotten"], [b"after"]):
            await send(connection, topic, partition=0, values=values)
        await asyncio.to_thread(broker.stop)
        flip_last_byte(tmp_path / "kafka" / "logs" / f"{topic}-0" / f"{0:020}.log", b"rotten")
        await asyncio.to_thread(broker.start)
        async with joined(connection, topic, num_partitions=1) as (consumer, _):
            received = await receive(consumer, [Partition(topic, 0)], 3)
    finally:
        await asyncio.to_thread(broker.stop)
    assert [(record.offset, record.next_offset) for record in received] == [(0, 1), (1, 4), (4, 5)]
    assert isinstance(received[1], UnreadableRange)
    assert received[1].error == "CorruptRecordException"


async def test_a_dead_fetch_task_breaks_the_consumer(connection: Connection, topic: str) -> None:
    """After a new start the consumer continues at the committed offset."""
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
async def test_a_dead_task_of_the_group_breaks_the_consumer(connection: Connection, topic: str, name: str) -> None:
    """Without the check the group would remove the worker without notice."""
    async with joined(connection, topic, num_partitions=1) as (consumer, _):
        assert consumer._client is not None
        task = getattr(consumer._client._coordinator, f"_{name}_task")
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ConsumerBroken, match=f"{name} task"):
            await consumer.poll([], max_records=1)


async def test_a_committed_offset_out_of_range_is_reported(connection: Connection, topic: str) -> None:
    """Reading starts at the first record of the log."""
    async with joined(connection, topic, num_partitions=1) as (consumer, group):
        home = Partition(topic, 0)
        await send(connection, topic, partition=0, values=[b"%d" % n for n in range(10)])
        await consumer.commit({home: 2})
        await delete_before(connection, home, 6)
        assert await seek_start(consumer, home) == 6
        assert [event for event, _ in group.events] == ["committed_offset_out_of_range"]
        assert numbers(await receive(consumer, [home], 4), 0) == [6, 7, 8, 9]


async def test_a_position_out_of_range_breaks_the_consumer(connection: Connection, topic: str) -> None:
    """The position must not jump without notice."""
    async with joined(connection, topic, num_partitions=1) as (consumer, _):
        home = Partition(topic, 0)
        await send(connection, topic, partition=0, values=[b"%d" % n for n in range(10)])
        await delete_before(connection, home, 8)
        assert consumer._fetcher is not None
        consumer._fetcher.seek(home, 3)
        with pytest.raises(ConsumerBroken, match="no longer contains"):
            await receive(consumer, [home], 1)


async def test_the_setting_decides_the_start_without_a_committed_offset(connection: Connection, topic: str) -> None:
    await create_missing(connection, {topic: 1})
    await send(connection, topic, partition=0, values=[b"a", b"b"])
    home = Partition(topic, 0)
    async with joined(connection, topic, num_partitions=1, seek=False, auto_offset_reset="latest") as (consumer, _):
        assert await seek_start(consumer, home) == 2
    async with joined(connection, topic, num_partitions=1, seek=False, auto_offset_reset="none") as (consumer, _):
        with pytest.raises(BadSettings, match="no usable committed offset"):
            await seek_start(consumer, home)


async def test_a_client_that_does_not_know_the_partitions_yet_starts_at_the_latest_offset(
    connection: Connection, topic: str
) -> None:
    """The member of the consumer protocol may get a partition before aiokafka gets the metadata of the topic."""
    options: dict[str, Any] = {"auto_offset_reset": "latest", "group_protocol": "consumer"}
    async with joined(connection, topic, num_partitions=1, seek=False, **options) as (consumer, _):
        await send(connection, topic, partition=0, values=[b"a", b"b"])
        assert consumer._client is not None
        del consumer._client._client.cluster._partitions[topic]
        assert await seek_start(consumer, Partition(topic, 0)) == 2


async def test_the_partitions_of_a_deleted_topic_are_not_held(connection: Connection, topic: str) -> None:
    """The client would ask for their leaders without a pause. The topic is read again once it is created again."""
    home = Partition(topic, 0)
    async with joined(connection, topic, num_partitions=1, group_protocol="consumer") as (consumer, group):
        assert consumer._client is not None
        await delete_topic(connection, topic)
        while consumer._client.assignment():
            await consumer.poll([home], max_records=1)
        group.assigned_now = set()
        await create_missing(connection, {topic: 1})
        while not group.assigned_now:
            assert await consumer.poll([], max_records=1) == []
        await seek_start(consumer, home)
        await send(connection, topic, partition=0, values=[b"x"])
        assert numbers(await receive(consumer, [home], 1), 0) == [0]


async def test_only_offsets_of_assigned_partitions_are_committed(connection: Connection, topic: str) -> None:
    """Other offsets are ignored."""
    async with joined(connection, topic, num_partitions=1) as (consumer, _):
        await send(connection, topic, partition=0, values=[b"a"])
        await consumer.commit({Partition("other-topic", 0): 5, Partition(topic, 0): 1})
        await consumer.commit({Partition("other-topic", 0): 6})
    probe = AIOKafkaConsumer(bootstrap_servers=connection.bootstrap_servers, group_id=f"group-{topic}", enable_auto_commit=False)
    await probe.start()
    assert await probe.committed(TopicPartition(topic, 0)) == 1
    await probe.stop()


@pytest.mark.parametrize("code", [14, 15, 16])
async def test_a_coordinator_that_is_loading_is_asked_again(
    connection: Connection, topic: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response with such an error does not mean that the group has no committed offset."""
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


async def test_a_consumer_that_is_not_started_raises(connection: Connection, topic: str) -> None:
    """Stopping it is no error."""
    consumer = Consumer(connection, topics=[topic], group_id="g", on_event=Group().on_event)
    with pytest.raises(ConsumerBroken, match="not started"):
        await consumer.poll([], max_records=1)
    assert consumer.lag() == {}
    await consumer.stop()


async def test_an_unreachable_broker_fails_the_start_with_its_address(topic: str) -> None:
    consumer = Consumer(Connection(bootstrap_servers="127.0.0.1:1"), topics=[topic], group_id="g", on_event=Group().on_event)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        await consumer.start(Group())


async def test_an_unreadable_committed_offset_fails_the_session(own_kafka: EmbeddedKafka, topic: str) -> None:
    """The session is opened again later, and never at a guessed offset."""
    connection = Connection(bootstrap_servers=own_kafka.bootstrap_servers, request_timeout_ms=2000)
    async with joined(connection, topic, num_partitions=1, seek=False, step_timeout_s=1.0) as (consumer, _):
        await asyncio.to_thread(own_kafka.kill)
        with pytest.raises(PublishFailed, match="cannot be read"):
            await seek_start(consumer, Partition(topic, 0))


async def test_only_a_fetch_task_that_hangs_is_reported_as_stuck(connection: Connection, topic: str) -> None:
    """An idle topic, a topic that ends with a transaction marker, and a paused topic are not stuck."""
    home = Partition(topic, 0)
    async with joined(connection, topic, num_partitions=1, look_interval_s=0.05, stuck_after_s=0.5) as (consumer, group):
        async with open_transaction(connection, name=f"marker-{topic}") as producer:
            await producer.send(topic, b"x", partition=0)
        await receive(consumer, [home], 1)

        async def poll_probes(partitions: list[Partition], num_probes: int) -> None:
            """Poll until the brokers were asked `num_probes` times for the end of the topic."""
            for _ in range(num_probes):
                before = consumer._stall_probe.due_s
                while consumer._stall_probe.due_s == before and partitions:
                    await consumer.poll(partitions, max_records=1)

        await poll_probes([home], 15)
        assert consumer._client is not None
        consumer._client._fetcher._get_actions_per_node = lambda _assignment: ([], {}, 3600.0, False, [])
        # The fetch that was in progress at the fault still returns the first of them.
        await send(connection, topic, partition=0, values=[b"y"])
        await send(connection, topic, partition=0, values=[b"z"])
        for _ in range(3):
            assert await consumer.poll([], max_records=1) == []
        with pytest.raises(ConsumerBroken, match=f"hangs: it returns no records of {topic}-0"):
            await poll_probes([home], 1_000)
        assert group.events == [("fetch_stuck", {"partitions": [f"{topic}-0"]})]
