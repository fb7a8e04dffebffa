"""The session of a partition: open, publish, end after a failure, open again."""

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
from worker.flow.session import Backoff, Restarts, Session, SessionEvents, stretch_interval_s
from worker.records import EmptyRange, Message, Outcome, Output, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from worker.records import Partition


class World:
    """A session on a Kafka in memory, with its events."""

    def __init__(self, *, publish_interval_s: float = 0.0) -> None:
        self.kafka = FakeKafka()
        self.source, self.delivery = FakeSource(self.kafka), FakeDelivery(self.kafka)
        self.events: list[str] = []
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
        self.events.append(f"opened at {offset}")
        self.opened.set()

    def _ended(self, _partition: Partition, error: Exception) -> None:
        self.events.append(f"ended: {type(error).__name__}")
        self.opened.clear()

    def _published(self, outcomes: Sequence[Outcome], _seconds: float) -> None:
        self.events.append(f"published {[outcome.offset for outcome in outcomes]}")

    def _refused(self, outcome: Outcome, _refusal: RecordRefused) -> Outcome:
        return Outcome(outcome.source, (Message(Output.DEAD_LETTERS, b"k", b"why"),))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the session until the block ends."""
        life = asyncio.create_task(self.session.run())
        await self.opened.wait()
        yield
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


async def test_finished_prefixes_are_published_in_order_with_at_most_max_publish_records() -> None:
    """Records may finish in any order."""
    world = World()
    async with world.running():
        records = [world.kafka.produce(b"x") for _ in range(5)]
        assert all(world.session.track(record, 3) for record in records)
        assert world.session.weight == 15
        for record in reversed(records):
            world.session.finish(outcome(record))
        await world.session.wait_drained()
        assert world.session.weight == 0
    assert world.events == ["opened at 0", "published [0, 1]", "published [2, 3]", "published [4]"]


async def test_publications_start_at_the_interval() -> None:
    """The first publication starts at once. A full publication and a drain do not wait for the interval."""
    world = World(publish_interval_s=3_600.0)
    async with world.running():
        records = [world.kafka.produce(b"x") for _ in range(5)]
        for number, record in enumerate(records):
            world.session.track(record, 1)
            world.session.finish(outcome(record))
            if number in (0, 2):
                await world.kafka.until(lambda num=number + 1: len(world.kafka.published) == num)  # type: ignore[misc]
        assert world.events == ["opened at 0", "published [0]", "published [1, 2]"]
        await world.session.wait_drained()
    assert world.events == ["opened at 0", "published [0]", "published [1, 2]", "published [3, 4]"]


async def test_a_publication_starts_at_the_end_of_the_interval() -> None:
    """The publication is not full, and the session does not drain."""
    world = World(publish_interval_s=0.001)
    async with world.running():
        for _ in range(3):
            record = world.kafka.produce(b"x")
            world.session.track(record, 1)
            world.session.finish(outcome(record))
            await world.kafka.until(lambda: len(world.kafka.published) == len(world.kafka.log[world.session.partition]))
    assert len(world.kafka.published) == 3


@pytest.mark.parametrize(("seconds", "interval_s"), [(0.0, 0.1), (0.05, 0.1), (0.1, 0.2), (1.0, 0.3)])
def test_slow_publications_make_the_interval_longer(seconds: float, interval_s: float) -> None:
    """The interval is twice the duration of a publication, between one and three times the setting."""
    assert stretch_interval_s(0.1, seconds) == pytest.approx(interval_s)


async def test_an_empty_range_is_published_with_the_records_before_it() -> None:
    """A range is also published alone, but not while the session is closed."""
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
    assert world.events == ["opened at 0", "published [0, 1]", "published [4]"]
    assert world.kafka.committed == {home: 6}


async def test_after_a_failure_the_session_opens_again_at_the_committed_offset() -> None:
    """Records in flight are dropped, and their late results are ignored."""
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
    assert world.events == ["opened at 7", "ended: PublishFailed", "opened at 7"]
    assert world.kafka.published == []


async def test_a_refused_message_is_replaced_and_the_prefix_published_again() -> None:
    """The `refused` callback returns the replacement."""
    world = World()
    world.delivery.on_publish = refuse(Output.EMBEDDINGS, 0)
    async with world.running():
        record = world.kafka.produce(b"x")
        world.session.track(record, 1)
        world.session.finish(outcome(record))
        await world.session.wait_drained()
    assert [message.output for _, _, message in world.kafka.published] == [Output.DEAD_LETTERS]


async def test_a_fatal_error_of_the_delivery_ends_the_session() -> None:
    """The session does not open again, and the worker ends."""
    world = World()

    async def never(partition: Partition) -> int:
        raise BadSettings(f"no offset for {partition}")

    world.delivery.open = never  # type: ignore[method-assign]
    with pytest.raises(BadSettings, match="no offset"):
        await world.session.run()


async def test_a_closed_session_tracks_no_record() -> None:
    """The session is closed before it opens and after a failure. A drain returns at once."""
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
    """The session opens when the brokers answer."""
    world = World()
    opening, failures = world.delivery.open, [PublishFailed("away"), PublishFailed("still away")]

    async def sometimes(partition: Partition) -> int:
        if failures:
            raise failures.pop()
        return await opening(partition)

    world.delivery.open = sometimes  # type: ignore[method-assign]
    async with world.running():
        assert world.session.is_ready
    assert world.events == ["ended: PublishFailed"] * 2 + ["opened at 0"]


@given(num_failures=st.integers(1, 10_000), first_s=st.floats(0.001, 1), max_s=st.floats(1, 60))
def test_the_delay_grows_up_to_its_maximum(num_failures: int, first_s: float, max_s: float) -> None:
    """The jitter is at most half of the delay."""
    pause_s = Backoff(first_s=first_s, max_s=max_s).delay_s(num_failures)
    whole_s = min(max_s, first_s * 2.0 ** min(num_failures - 1, 100))
    assert min(max_s, first_s) / 2 <= pause_s <= max_s
    assert pause_s <= whole_s


@given(st.sets(st.integers(0, 19)))
def test_each_refused_record_costs_at_most_three_publications(refused: set[int]) -> None:
    """All records are published once and in order, the refused ones as dead letters."""
    num_publications = asyncio.run(_publish_with_refusals(refused))
    assert num_publications <= 20 / 2 + 3 * len(refused)


async def _publish_with_refusals(refused: set[int]) -> int:
    world, num_publications = World(), 0

    def refuse_some(partition: Partition, outcomes: Sequence[Outcome]) -> None:
        nonlocal num_publications
        num_publications += 1
        for finished in outcomes:
            if finished.offset in refused and finished.messages[0].output is not Output.DEAD_LETTERS:
                raise RecordRefused(partition, finished.offset, finished.messages[0].output, "why")

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
def test_the_delay_of_frequent_restarts_grows(delays_s: list[float]) -> None:
    """The first restart has no delay. A minute without a restart resets the delay."""
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
