"""The session of a partition: opened, worked, ended at any doubt, opened again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeDelivery, FakeKafka, FakeSource, fail_times, refuse
from tests.makers import outcome
from worker.errors import BadSettings, PublishFailed, RecordRefused
from worker.flow.session import Backoff, Restarts, Session, SessionEvents
from worker.records import EmptyRange, Message, Outcome, Output, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from worker.records import Partition


class World:
    """A session over a Kafka in memory, and what it told."""

    def __init__(self, *, publish_interval_s: float = 0.0) -> None:
        self.kafka = FakeKafka()
        self.source, self.delivery = FakeSource(self.kafka), FakeDelivery(self.kafka)
        self.told: list[str] = []
        self.opened = asyncio.Event()
        self.session = Session(
            self.kafka.partitions[0],
            source=self.source,
            delivery=self.delivery,
            events=SessionEvents(self._opened, self._ended, self._published, self._refused),
            backoff=Backoff(first_s=0.0, max_s=0.0),
            max_publish_records=2,
            publish_interval_s=lambda: publish_interval_s,
        )

    def _opened(self, _partition: Partition, offset: int) -> None:
        self.told.append(f"opened at {offset}")
        self.opened.set()

    def _ended(self, _partition: Partition, error: Exception) -> None:
        self.told.append(f"ended: {type(error).__name__}")
        self.opened.clear()

    def _published(self, outcomes: Sequence[Outcome], _seconds: float) -> None:
        self.told.append(f"published {[it.offset for it in outcomes]}")

    def _refused(self, it: Outcome, _refusal: RecordRefused) -> Outcome:
        return Outcome(it.source, (Message(Output.DEAD_LETTERS, b"k", b"why"),))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Live until the block ends."""
        life = asyncio.create_task(self.session.run())
        await self.opened.wait()
        yield
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


async def test_it_publishes_finished_prefixes_in_order_and_in_bounded_pieces() -> None:
    """Whatever the order of finishing, and no more at a time than it may."""
    world = World()
    async with world.running():
        records = [world.kafka.produce(b"x") for _ in range(5)]
        assert all(world.session.track(record, 3) for record in records)
        assert world.session.weight == 15
        for record in reversed(records):
            world.session.finish(outcome(record))
        await world.session.wait_drained()
        assert world.session.weight == 0
    assert world.told == ["opened at 0", "published [0, 1]", "published [2, 3]", "published [4]"]


async def test_between_two_publications_outcomes_gather() -> None:
    """The first leaves at once; the next waits for its interval, unless it is full or the line is to be emptied."""
    world = World(publish_interval_s=3_600.0)
    async with world.running():
        records = [world.kafka.produce(b"x") for _ in range(5)]
        for number, record in enumerate(records):
            world.session.track(record, 1)
            world.session.finish(outcome(record))
            if number in (0, 2):
                await world.kafka.until(lambda num=number + 1: len(world.kafka.published) == num)  # type: ignore[misc]
        assert world.told == ["opened at 0", "published [0]", "published [1, 2]"]
        await world.session.wait_drained()
    assert world.told == ["opened at 0", "published [0]", "published [1, 2]", "published [3, 4]"]


async def test_what_gathered_leaves_when_its_time_has_come() -> None:
    """Though it is not full and nobody drains."""
    world = World(publish_interval_s=0.001)
    async with world.running():
        for _ in range(3):
            record = world.kafka.produce(b"x")
            world.session.track(record, 1)
            world.session.finish(outcome(record))
            await world.kafka.until(lambda: len(world.kafka.published) == len(world.kafka.log[world.session.partition]))
    assert len(world.kafka.published) == 3


async def test_an_empty_range_is_published_with_the_records_before_it() -> None:
    """Alone too, and not while no session is open."""
    world = World()
    home = world.kafka.partitions[0]
    world.session.skip(EmptyRange(home, 0, 3))
    async with world.running():
        record = world.kafka.produce(b"x")
        world.session.track(record, 1)
        world.session.skip(EmptyRange(home, 1, 4))
        world.session.finish(outcome(record))
        await world.session.wait_drained()
        world.session.skip(EmptyRange(home, 4, 6))
        await world.session.wait_drained()
        await world.delivery.commit([home])
    assert world.told == ["opened at 0", "published [0, 1]", "published [4]"]
    assert world.kafka.committed == {home: 6}


async def test_doubt_drops_the_work_and_begins_again_at_the_committed_offset() -> None:
    """Late results of the session that ended are ignored."""
    world = World()
    world.kafka.committed[world.kafka.partitions[0]] = 7
    world.delivery.on_publish = fail_times(1)
    async with world.running():
        stale = [world.kafka.produce(b"x") for _ in range(9)][7:]
        for record in stale:
            world.session.track(record, 1)
        world.session.finish(outcome(stale[0]))
        await world.session.wait_drained()
        world.opened.clear()
        await world.opened.wait()
        assert not world.session.is_waiting_for(stale[1])
        world.session.finish(outcome(stale[1]))
        assert world.session.weight == 0
    assert world.told == ["opened at 7", "ended: PublishFailed", "opened at 7"]
    assert world.kafka.published == []


async def test_a_refused_message_is_replaced_and_the_prefix_sent_again() -> None:
    """What was refused becomes what `refused` says."""
    world = World()
    world.delivery.on_publish = refuse(Output.EMBEDDINGS, 0)
    async with world.running():
        record = world.kafka.produce(b"x")
        world.session.track(record, 1)
        world.session.finish(outcome(record))
        await world.session.wait_drained()
    assert [message.output for _, _, message in world.kafka.published] == [Output.DEAD_LETTERS]


async def test_what_nobody_can_mend_ends_the_session_for_good() -> None:
    """A `Stop` out of the delivery is not tried again: it ends the worker."""
    world = World()

    async def never(partition: Partition) -> int:
        raise BadSettings(f"no offset for {partition}")

    world.delivery.open = never  # type: ignore[method-assign]
    with pytest.raises(BadSettings, match="no offset"):
        await world.session.run()


async def test_outside_of_a_session_nothing_is_taken() -> None:
    """Before it is open, and after it ended, records are not tracked and nothing waits."""
    world = World()
    record = world.kafka.produce(b"x")
    assert not world.session.track(record, 1)
    assert not world.session.is_waiting_for(record)
    world.session.weigh(record, 5)
    world.session.finish(outcome(record))
    await world.session.wait_drained()
    async with world.running():
        assert world.session.is_ready
    assert not world.session.track(record, 1)


async def test_a_session_that_cannot_open_tries_again() -> None:
    """Until the brokers answer."""
    world = World()
    opening, failures = world.delivery.open, [PublishFailed("away"), PublishFailed("still away")]

    async def sometimes(partition: Partition) -> int:
        if failures:
            raise failures.pop()
        return await opening(partition)

    world.delivery.open = sometimes  # type: ignore[method-assign]
    async with world.running():
        assert world.session.is_ready
    assert world.told == ["ended: PublishFailed"] * 2 + ["opened at 0"]


@given(num_failures=st.integers(1, 10_000), first_s=st.floats(0.001, 1), max_s=st.floats(1, 60))
def test_the_pause_grows_and_is_bounded(num_failures: int, first_s: float, max_s: float) -> None:
    """At least half of what it should be, never more, and never over the longest."""
    pause_s = Backoff(first_s=first_s, max_s=max_s).delay_s(num_failures)
    whole_s = min(max_s, first_s * 2.0 ** min(num_failures - 1, 100))
    assert min(max_s, first_s) / 2 <= pause_s <= max_s
    assert pause_s <= whole_s


@given(st.sets(st.integers(0, 19)))
def test_however_many_records_are_refused_each_is_sent_a_few_times_only(refused: set[int]) -> None:
    """Everything comes out once and in order, the refused as letters, with no more than three publications for each refusal."""
    num_publications = asyncio.run(_publish_with_refusals(refused))
    assert num_publications <= 20 / 2 + 3 * len(refused)


async def _publish_with_refusals(refused: set[int]) -> int:
    world, num_publications = World(), 0

    def refuse_some(partition: Partition, outcomes: Sequence[Outcome]) -> None:
        nonlocal num_publications
        num_publications += 1
        for it in outcomes:
            if it.offset in refused and it.messages[0].output is not Output.DEAD_LETTERS:
                raise RecordRefused(partition, it.offset, it.messages[0].output, "why")

    world.delivery.on_publish = refuse_some
    async with world.running():
        for _ in range(20):
            record = world.kafka.produce(b"x")
            assert world.session.track(record, 1)
            world.session.finish(outcome(record))
        await world.session.wait_drained()
    found = [(offset, message.output is Output.DEAD_LETTERS) for _, offset, message in world.kafka.published]
    assert found == [(offset, offset in refused) for offset in range(20)]
    return num_publications


@given(st.lists(st.floats(0, 59), min_size=2, max_size=12))
def test_restarts_that_follow_soon_are_further_and_further_apart(delays_s: list[float]) -> None:
    """The first is made at once; up to its longest, no pause is shorter than the one before; a calm minute begins anew."""
    restarts, now_s, pauses_s = Restarts(Backoff(first_s=0.1, max_s=1e9)), 1_000.0, []
    for delay_s in delays_s:
        pauses_s.append(restarts.delay_s(now_s))
        now_s += pauses_s[-1] + delay_s
    assert pauses_s[0] == 0
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[1] > 0
    assert restarts.delay_s(now_s + 61) == 0


async def test_the_source_is_read_from_the_offset_that_the_delivery_returns() -> None:
    world = World()
    partition = world.kafka.partitions[0]
    world.kafka.committed[partition] = 3
    async with world.running():
        assert world.source.positions == {partition: 3}
        assert world.session.track(Record(partition, 3, None, b"x"), 1)
