"""Groups that refuse a worker, on a real Kafka: one line that says what to do, growing pauses, and no other member disturbed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from tests.integration.support.raw import remove_members
from tests.integration.support.reading import until_committed
from tests.security.flow import create_topics, send, serving
from worker.broker.admin.group_check import check_group
from worker.broker.admin.groups import GroupDescription, describe_group
from worker.broker.admin.topics import create_missing
from worker.broker.connection.connection import Connection
from worker.broker.consumer.consumer import Consumer
from worker.broker.consumer.membership import Membership
from worker.broker.membership.group_probe import probe_group
from worker.errors import BrokerUnavailable, ConsumerBroken
from worker.flow.session import Restarts
from worker.observability.metrics import WorkerTelemetry
from worker.records import Partition
from worker.testbed.embedded_kafka import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator

    from worker.broker.admin.groups import GroupProtocol

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


class Events(WorkerTelemetry):
    """Notes the reasons of retries and the events of the broker's modules."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self.events: list[str] = []

    def retry(self, stage: str, error: Exception) -> None:
        """Note the reason."""
        self.reasons.append(str(error))
        super().retry(stage, error)

    def broker_event(self, event: str, **fields: object) -> None:
        """Note the event."""
        self.events.append(event)
        super().broker_event(event, **fields)


class Listener:
    """Notes what is assigned."""

    def __init__(self) -> None:
        self.partitions: set[Partition] = set()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Note them."""
        self.partitions |= set(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Forget them."""
        self.partitions -= set(partitions)

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Treat the loss as a revocation."""
        await self.revoked(partitions)


@pytest.fixture(scope="module")
def strict_kafka() -> Iterator[EmbeddedKafka]:
    """Give a broker whose groups have one member at most."""
    with EmbeddedKafka(properties="group.max.size=1\ngroup.consumer.max.size=1\n") as broker:
        yield broker


def settings(connection: Connection, topic: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a worker in a group of its own."""
    return {
        "bootstrap_servers": connection.bootstrap_servers,
        "input_topic": topic,
        "group_id": f"group-{topic}",
        "delivery": "at_least_once",
    } | more


def membership(topic: str, **more: Any) -> Membership:
    """Return what a worker of that group says of itself."""
    return Membership(topics=[topic], group_id=f"group-{topic}", **more)


@contextlib.asynccontextmanager
async def another_program(connection: Connection, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Be a member of the group that shares partitions in another way than a worker does."""
    client = AIOKafkaConsumer(
        topic,
        bootstrap_servers=connection.bootstrap_servers,
        group_id=f"group-{topic}",
        partition_assignment_strategy=(RangePartitionAssignor,),
        enable_auto_commit=False,
    )
    async with client:
        yield client


async def find_group(connection: Connection, topic: str) -> GroupDescription:
    """Return the group as its coordinator knows it."""
    return await describe_group(connection, f"group-{topic}")


async def test_another_assignor_under_the_same_group_stops_the_start(connection: Connection, topic: str) -> None:
    """The worker ends with one line that names the group and the setting; so does the check, and the other program goes on."""
    await create_topics(connection, topic)
    async with another_program(connection, topic) as other:
        before = other.assignment()
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match=rf"group-{topic} refuses this worker: .*GIST_GROUP_ID") as caught:
                async with serving(settings(connection, topic)):
                    pass
            assert "\n" not in str(caught.value)
        with pytest.raises(BrokerUnavailable, match="GIST_GROUP_ID"):
            await check_group(connection, membership(topic))
        assert other.assignment() == before
        assert len((await find_group(connection, topic)).members) == 1


async def test_a_session_timeout_out_of_the_brokers_bounds_stops_the_start(connection: Connection, topic: str) -> None:
    """The line names the setting and the bounds."""
    await create_topics(connection, topic)
    for session_timeout_ms in (1_000, 100_000_000):
        with pytest.raises(BrokerUnavailable, match=rf"GIST_SESSION_TIMEOUT_MS={session_timeout_ms} .*group\.max\.session"):
            await check_group(connection, membership(topic, session_timeout_ms=session_timeout_ms))
        consumer = Consumer(
            connection,
            topics=[topic],
            group_id=f"group-{topic}",
            on_event=Events().broker_event,
            session_timeout_ms=session_timeout_ms,
        )
        await consumer.start(Listener())
        try:
            with pytest.raises(BrokerUnavailable, match="GIST_SESSION_TIMEOUT_MS"):
                await _poll_for_ever(consumer)
        finally:
            await consumer.stop()


@pytest.mark.parametrize(("protocol", "limit"), [("classic", r"group\.max\.size"), ("consumer", r"group\.consumer\.max\.size")])
async def test_a_group_that_is_full_stops_the_start(
    strict_kafka: EmbeddedKafka, topic: str, protocol: GroupProtocol, limit: str
) -> None:
    """The first worker works on; the second ends with a line that names the broker's limit."""
    connection = Connection(bootstrap_servers=strict_kafka.bootstrap_servers)
    await create_topics(connection, topic)
    async with serving(settings(connection, topic, group_protocol=protocol)) as first:
        with pytest.raises(BrokerUnavailable, match=limit):
            async with serving(settings(connection, topic, group_protocol=protocol)):
                pass
        probing = probe_group(connection, f"group-{topic}", [topic], protocol)
        with pytest.raises(BrokerUnavailable, match=limit):
            await (check_group(connection, membership(topic)) if protocol == "classic" else probing)
        probing.close()
        assert first.is_ready


async def test_the_check_leaves_no_member_behind(connection: Connection, topic: str) -> None:
    """The check adds no member to an empty group, and starts no rebalance of a group with a worker."""
    await create_topics(connection, topic)
    assert (await check_group(connection, membership(topic))).state == "Dead"
    assert (await find_group(connection, topic)).members == ()
    async with serving(settings(connection, topic, group_protocol="classic")):
        before = await check_group(connection, membership(topic))
        assert (before.state, len(before.members), before.assignor) == ("Stable", 1, "roundrobin")
        assert await find_group(connection, topic) == before
        with pytest.raises(BrokerUnavailable, match="GIST_SESSION_TIMEOUT_MS=1000 "):
            await check_group(connection, membership(topic, session_timeout_ms=1_000))
        assert await find_group(connection, topic) == before
        await send(connection, topic, "words")
        await until_committed(connection, f"group-{topic}", Partition(topic, 0), 1)
        assert len((await find_group(connection, topic)).members) == 1


async def test_a_group_that_refuses_a_running_worker_is_asked_ever_less_often(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try costs one line that says what to do, the pauses grow, and the worker works once the other program has left."""
    pauses_s: list[float] = []
    delay_s = Restarts.delay_s

    def noted(restarts: Restarts, now_s: float) -> float:
        pauses_s.append(delay_s(restarts, now_s))
        return pauses_s[-1]

    monkeypatch.setattr(Restarts, "delay_s", noted)
    await create_topics(connection, topic)
    telemetry = Events()
    slow = settings(connection, topic, group_protocol="classic", heartbeat_interval_ms=2_000, retry_backoff_max_ms=5_000)
    async with serving(slow, telemetry):
        # Until its next heartbeat the worker does not know that it is no member any more.
        await remove_members(connection, f"group-{topic}")
        async with another_program(connection, topic) as other:
            while len(pauses_s) < 5:  # noqa: ASYNC110  nobody is told
                await asyncio.sleep(0.01)
            assert other.assignment()
        await send(connection, topic, "words")
        await until_committed(connection, f"group-{topic}", Partition(topic, 0), 1)
    assert pauses_s[0] == 0
    assert pauses_s == sorted(pauses_s)
    assert len(telemetry.reasons) == len(pauses_s)
    assert all("GIST_GROUP_ID" in reason for reason in telemetry.reasons)
    assert telemetry.events == []


async def _poll_for_ever(consumer: Consumer) -> None:
    while True:
        await consumer.poll([], max_records=1)


async def test_two_processes_with_one_instance_id_are_an_error(connection: Connection, topic: str) -> None:
    """The process whose place was taken stops with a line that names the setting, instead of taking the place back at once."""
    await create_missing(connection, {topic: 1})
    first, second = (
        Consumer(
            connection,
            topics=[topic],
            group_id=f"group-{topic}",
            on_event=Events().broker_event,
            group_instance_id="twin",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=200,
        )
        for _ in range(2)
    )
    has = Listener()
    await first.start(has)
    try:
        while not has.partitions:
            await first.poll([], max_records=1)
        # Some heartbeats, so that it is known to live.
        for _ in range(5):
            await first.poll([], max_records=1)
        took = Listener()
        await second.start(took)
        while not took.partitions:
            await second.poll([], max_records=1)
        with pytest.raises(ConsumerBroken, match="GIST_GROUP_INSTANCE_ID=twin"):
            await _poll_for_ever(first)
    finally:
        await first.stop()
        await second.stop()
