"""The assignment: partitions are assigned, drained and revoked, in any order."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.fakes import FakeDelivery, FakeKafka, FakeSource
from tests.makers import OPTIONS, outcome
from worker.flow.assignment import Assignment
from worker.flow.session import SessionEvents
from worker.observability.metrics import WorkerTelemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class World:
    """An assignment on a Kafka in memory."""

    def __init__(self, num_partitions: int = 2, *, publish_interval_s: float = 0.0) -> None:
        self.kafka = FakeKafka(num_partitions)
        self.source, self.delivery = FakeSource(self.kafka), FakeDelivery(self.kafka)
        self.tasks = asyncio.TaskGroup()
        self.assignment = Assignment(
            spawn=self.tasks.create_task,
            source=self.source,
            delivery=self.delivery,
            telemetry=WorkerTelemetry(),
            events=SessionEvents(lambda *_: None, lambda *_: None, lambda *_: None, lambda outcome, _: outcome),
            options=replace(OPTIONS, drain_timeout_s=0.2, publish_interval_s=publish_interval_s),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks, and release all partitions at the end."""
        async with self.tasks:
            yield
            await self.assignment.release(self.assignment.partitions, is_draining=False)

    async def ready(self) -> None:
        """Wait until every session is open."""
        while not self.assignment.is_ready:  # noqa: ASYNC110  a session's readiness has no event of its own
            await asyncio.sleep(0)


async def test_an_assignment_is_ready_when_every_session_is_open() -> None:
    """The assignment is not ready before the first call of `assigned`."""
    world = World()
    async with world.running():
        assert not world.assignment.is_ready
        world.assignment.assigned(world.kafka.partitions)
        assert not world.assignment.is_ready
        await world.ready()
        assert world.assignment.list_partitions_below(10) == world.kafka.partitions


async def test_the_publish_interval_grows_above_eight_partitions() -> None:
    """With four times as many partitions the interval is four times as long."""
    for num_partitions, expected_s in ((0, 0.1), (1, 0.1), (8, 0.1), (32, 0.4)):
        world = World(num_partitions, publish_interval_s=0.1)
        async with world.running():
            world.assignment.assigned(world.kafka.partitions)
            assert world.assignment.publish_interval_s() == expected_s


async def test_a_revoked_partition_is_drained_and_not_polled() -> None:
    """`find_session` returns None at once, `find_owner` after the drain."""
    world = World(1)
    home = world.kafka.partitions[0]
    async with world.running():
        world.assignment.assigned([home])
        await world.ready()
        session = world.assignment.find_session(home)
        assert session is not None
        record = world.kafka.produce(b"x")
        session.track(record, 7)
        assert world.assignment.weight == 7
        leaving = asyncio.create_task(world.assignment.revoked([home]))
        while world.assignment.find_session(home) is not None:  # noqa: ASYNC110  the task has no event for its first step
            await asyncio.sleep(0)
        assert world.assignment.list_partitions_below(100) == []
        assert world.assignment.find_owner(home) is session
        session.finish(outcome(record))
        await leaving
        assert world.assignment.find_owner(home) is None
    assert world.kafka.committed == {home: 1}


async def test_a_partition_above_the_weight_is_not_listed() -> None:
    """The other partitions are listed."""
    world = World(2)
    async with world.running():
        world.assignment.assigned(world.kafka.partitions)
        await world.ready()
        session = world.assignment.find_session(world.kafka.partitions[0])
        assert session is not None
        session.track(world.kafka.produce(b"x"), 50)
        assert world.assignment.list_partitions_below(49) == [world.kafka.partitions[1]]


async def test_a_partition_that_is_assigned_twice_has_one_session() -> None:
    """The second session starts after the end of the first."""
    world = World(1)
    home = world.kafka.partitions[0]
    async with world.running():
        world.assignment.assigned([home])
        await world.ready()
        first = world.assignment.find_owner(home)
        world.assignment.assigned([home])
        await world.ready()
        second = world.assignment.find_owner(home)
        assert second is not first
        assert first is not None
        assert not first.is_ready
    assert len(world.delivery.opened) == 2


async def test_a_revocation_during_shutdown_ends_the_session_once() -> None:
    """Both calls return."""
    world = World(1)
    home = world.kafka.partitions[0]
    async with world.running():
        world.assignment.assigned([home])
        await world.ready()
        session = world.assignment.find_owner(home)
        assert session is not None
        session.track(world.kafka.produce(b"never finished"), 1)
        results = await asyncio.gather(
            world.assignment.release({home}), world.assignment.release({home}), world.assignment.revoked([home])
        )
        assert list(results[:2]) == [False, False]
        assert world.assignment.partitions == set()


async def test_a_shutdown_during_a_revocation_has_drained_when_the_revocation_has() -> None:
    """The revocation ends the session first, and the shutdown reports no dropped record."""
    world = World(2)
    home, other = world.kafka.partitions
    async with world.running():
        world.assignment.assigned([home, other])
        await world.ready()
        records = [world.kafka.produce(b"x", partition=partition.index) for partition in (home, other)]
        sessions = [world.assignment.find_owner(partition) for partition in (home, other)]
        for session, record in zip(sessions, records, strict=True):
            assert session is not None
            session.track(record, 1)
        revocation = asyncio.create_task(world.assignment.revoked([home]))
        while world.assignment.find_session(home) is not None:  # noqa: ASYNC110  the task has no event for its first step
            await asyncio.sleep(0)
        shutdown = asyncio.create_task(world.assignment.leave())
        while world.assignment.find_session(other) is not None:  # noqa: ASYNC110  the task has no event for its first step
            await asyncio.sleep(0)
        for session, record, ended in zip(sessions, records, (revocation, shutdown), strict=True):
            assert session is not None
            session.finish(outcome(record))
            result = await ended
        assert result
    assert world.kafka.committed == {home: 1, other: 1}


async def test_a_partition_that_is_not_assigned_is_not_committed() -> None:
    """The call succeeds."""
    world = World(1)
    async with world.running():
        assert await world.assignment.commit(world.kafka.partitions)
        await world.assignment.revoked(world.kafka.partitions)
    assert world.kafka.committed == {}
