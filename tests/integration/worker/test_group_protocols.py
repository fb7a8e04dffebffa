"""Both group protocols on a real Kafka: a group that moves between them, and what only the coordinator decides."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import pytest
from aiokafka.client import CoordinationType
from aiokafka.protocol.group import JoinGroupRequest

from tests.integration.support.reading import read_all
from tests.integration.support.workers import create, produce
from tests.security.flow import build_pipeline, serving
from worker.broker.admin.client import admin_client
from worker.broker.client_internals import get_network_client
from worker.broker.membership.coordinator import CoordinatorLink
from worker.broker.membership.group_probe import probe_group
from worker.broker.membership.requests import MemberIdentity, build_leave
from worker.errors import BrokerUnavailable
from worker.observability.metrics import WorkerTelemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.broker.connection.connection import Connection
    from worker.pipeline import Pipeline

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
NUM_PARTITIONS = 4


class Events(WorkerTelemetry):
    """Counts the sessions of each partition, the rebalances by kind, and the events of the broker's modules."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = Counter[str]()
        self.rebalances = Counter[str]()
        self.events: list[str] = []

    def session_opened(self, partition: object, offset: int) -> None:
        """Count the session."""
        self.sessions[str(partition)] += 1
        super().session_opened(partition, offset)

    def rebalance(self, kind: str, partitions: list[str]) -> None:
        """Count the partitions."""
        self.rebalances[kind] += len(partitions)
        super().rebalance(kind, partitions)

    def broker_event(self, event: str, **fields: object) -> None:
        """Note the event."""
        self.events.append(event)
        super().broker_event(event, **fields)


class Workers:
    """Starts and stops workers of one group, with records in flight at each change."""

    def __init__(self, connection: Connection, topic: str, delivery: str) -> None:
        self._connection = connection
        self._topic = topic
        self._delivery = delivery
        self._stacks: dict[str, contextlib.AsyncExitStack] = {}
        self.flows: dict[str, Pipeline] = {}
        self.telemetry: dict[str, Events] = {}
        self.num_produced = 0

    async def __aenter__(self) -> Self:
        """Start without workers."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop all workers."""
        for stack in self._stacks.values():
            await stack.aclose()

    async def start(self, name: str, protocol: str, **more: Any) -> None:
        """Start a worker."""
        await self.send()
        settings = {
            "bootstrap_servers": self._connection.bootstrap_servers,
            "input_topic": self._topic,
            "group_id": f"group-{self._topic}",
            "delivery": self._delivery,
            "group_protocol": protocol,
        }
        stack, telemetry = contextlib.AsyncExitStack(), Events()
        self._stacks[name], self.telemetry[name] = stack, telemetry
        self.flows[name] = await stack.enter_async_context(serving(settings | more, telemetry))

    async def stop(self, name: str) -> None:
        """Drain and stop a worker."""
        await self.send()
        del self.flows[name]
        await self._stacks.pop(name).aclose()

    async def send(self) -> None:
        """Produce some records to each partition."""
        texts = [f"text {number}" for number in range(20)]
        await produce(self._connection, self._topic, texts, num_partitions=NUM_PARTITIONS, first=self.num_produced)
        self.num_produced += len(texts)

    def has(self, **shares: int) -> Callable[[], bool]:
        """Return the condition that all workers are ready and have these numbers of partitions."""
        return lambda: all(
            self.flows[name].is_ready and len(self.flows[name]._assignment.partitions) == share for name, share in shares.items()
        )

    async def processed(self) -> None:
        """Wait until each record has a vector."""
        while len(await count_outputs(self._connection, self._topic)) < self.num_produced:  # noqa: ASYNC110  brokers send no event
            await asyncio.sleep(0.05)

    async def remove(self, name: str) -> None:
        """Let the coordinator remove a member, as after its session timeout."""
        await self.send()
        source: Any = self.flows[name]._source
        group_id = f"group-{self._topic}"
        async with admin_client(self._connection) as admin:
            link = CoordinatorLink(get_network_client(admin), group_id)
            await link.send(build_leave(group_id, MemberIdentity(source.member.identity.member_id, -1)), 10.0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the time limit of the test ends the wait."""
    while not condition():  # noqa: ASYNC110  a pipeline sends no notification
        await asyncio.sleep(0.01)


async def count_outputs(connection: Connection, topic: str) -> Counter[bytes]:
    """Return the number of vectors by key of the input record."""
    found = Counter[bytes]()
    for partition in range(NUM_PARTITIONS):
        found.update(record.key for record in await read_all(connection, f"{topic}.embeddings", partition=partition))
    return found


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_a_group_moves_between_the_protocols_and_loses_nothing(connection: Connection, topic: str, delivery: str) -> None:
    """With exactly once no output is repeated. A partition that stays keeps its session."""
    await create(connection, topic, num_partitions=NUM_PARTITIONS)
    async with Workers(connection, topic, delivery) as workers:
        await workers.start("old", "classic")
        await workers.start("new", "auto")
        await until(workers.has(old=2, new=2))
        await workers.stop("old")
        await until(workers.has(new=4))
        new = workers.telemetry["new"]
        assert set(new.sessions.values()) == {1}
        assert new.rebalances == {"assigned": 4}
        await workers.start("second", "consumer")
        await until(workers.has(new=2, second=2))
        assert new.rebalances == {"assigned": 4, "revoked": 2}
        assert set(new.sessions.values()) == {1}
        await workers.processed()
        await workers.remove("second")
        await until(lambda: workers.telemetry["second"].rebalances["lost"] == 2 and workers.has(new=2, second=2)())
        await workers.stop("second")
        await until(workers.has(new=4))
        await workers.start("old", "classic")
        await until(workers.has(old=2, new=2))
        await workers.stop("new")
        await until(workers.has(old=4))
        await workers.send()
        await workers.processed()
    outputs = await count_outputs(connection, topic)
    assert outputs.keys() == {b"%d" % number for number in range(workers.num_produced)}
    if delivery == "exactly_once":
        assert set(outputs.values()) == {1}


async def test_a_static_member_that_restarts_keeps_its_partitions_and_two_processes_do_not_share_an_id(
    connection: Connection, topic: str
) -> None:
    """The second process waits, with one event, until the first has stopped. The other member notices nothing."""
    await create(connection, topic, num_partitions=NUM_PARTITIONS)
    async with Workers(connection, topic, "at_least_once") as workers:
        await workers.start("other", "consumer")
        await workers.start("first", "consumer", group_instance_id="pod-0")
        await until(workers.has(other=2, first=2))
        before = workers.telemetry["other"].rebalances.copy()
        joining = asyncio.create_task(workers.start("second", "consumer", group_instance_id="pod-0"))
        await until(lambda: "second" in workers.telemetry and workers.telemetry["second"].events == ["instance_id_in_use"])
        mine = workers.flows["first"]._assignment.partitions
        await workers.stop("first")
        await joining
        await until(workers.has(other=2, second=2))
        assert workers.flows["second"]._assignment.partitions == mine
        assert workers.telemetry["other"].rebalances == before


async def test_a_group_of_another_kind_stops_the_start_with_one_line(connection: Connection, topic: str) -> None:
    """The group belongs to Kafka Connect here. The check finds the same reason."""
    await create(connection, topic, num_partitions=1)
    group_id = f"group-{topic}"
    async with admin_client(connection) as admin:
        client = get_network_client(admin)
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
        member_id = ""
        for _ in range(2):
            # The coordinator answers the first request with a member id.
            join = JoinGroupRequest(group_id, 30_000, 30_000, member_id, None, "connect", [("sessioned", b"")])
            answer = await client.send(coordinator, join)
            member_id = answer.member_id
        assert answer.error_code == 0
        settings = {"bootstrap_servers": connection.bootstrap_servers, "input_topic": topic, "group_id": group_id}
        flow = build_pipeline(settings | {"group_protocol": "consumer"})
        with pytest.raises(BrokerUnavailable, match=rf"the group {group_id} refuses this worker: .*GIST_GROUP_ID"):
            await probe_group(connection, group_id, [topic], "consumer")
        with pytest.raises(BrokerUnavailable, match=rf"the group {group_id} refuses this worker: .*GIST_GROUP_ID") as caught:
            await flow.run()
    assert "\n" not in str(caught.value)
