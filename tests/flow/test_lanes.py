"""The lanes: live goes as if it were alone, backfill gives way to it, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import OPTIONS, PARTITION, tokenized
from worker.flow.lanes import Lane, Lanes, build_lanes
from worker.records import Partition

if TYPE_CHECKING:
    from worker.records import Batch

BACKFILL = Partition("old", 0)


@pytest.fixture(autouse=True)
def _waits_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no pass go on because a test was slow."""
    monkeypatch.setattr("worker.flow.lanes._MAX_YIELD_S", 60.0)


def lanes_with(
    *, max_passes: int = 1, max_batch_tokens: int = 100, max_backfill_batch_tokens: int = 20, max_batch_delay_s: float = 0.0
) -> Lanes:
    """Return lanes over the topics `texts` and `old`."""
    options = replace(OPTIONS, max_batch_tokens=max_batch_tokens, max_backfill_batch_tokens=max_backfill_batch_tokens)
    return build_lanes(replace(options, backfill_topic="old", max_batch_delay_s=max_batch_delay_s), max_passes=max_passes)


def offsets(batch: Batch) -> list[int]:
    """Return the offsets of a batch; the tests give backfill those from 100 on."""
    return [it.item.record.offset for it in batch.items]


class Pass:
    """A pass of one step in a thread, which notes in `seen` that it went on."""

    def __init__(self, lane: Lane, seen: list[str]) -> None:
        has_begun = threading.Event()

        def run() -> None:
            has_begun.set()
            assert lane.give_way is not None
            lane.give_way()
            seen.append("pass")

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        has_begun.wait(20)

    def end(self) -> None:
        """Wait until it has gone on; it does, or the test fails."""
        self._thread.join(20)
        assert not self._thread.is_alive()


async def test_each_lane_has_batches_of_its_own() -> None:
    """Up to its own budget: no live record shares a pass with backfill."""
    both = lanes_with()
    both.add([tokenized(number, 10, partition=BACKFILL) for number in (100, 101, 102)], 0.0)
    both.add([tokenized(number, 10) for number in range(3)], 0.0)
    live, backfill = both
    assert len(both) == 6
    assert offsets(await live.next_batch()) == [0, 1, 2]
    assert offsets(await backfill.next_batch()) == [100, 101]
    assert len(both) == 1
    assert (live.max_tokens, backfill.max_tokens) == (100, 20)


async def test_without_a_backfill_topic_everything_is_live() -> None:
    """Whatever the topic is called."""
    live, _ = both = build_lanes(OPTIONS, max_passes=1)
    both.add([tokenized(100, 5, partition=BACKFILL), tokenized(0, 5)], 0.0)
    assert offsets(await live.next_batch()) == [100, 0]


async def test_a_batch_has_a_place_until_it_leaves() -> None:
    """Live has one for each pass that may run and two for what is ready, backfill three."""
    for which, num_places in ((0, 5), (1, 3)):
        lane = list(lanes_with(max_passes=3))[which]
        lane.add([tokenized(number, 200) for number in range(num_places + 1)], 0.0)
        for number in range(num_places):
            assert offsets(await lane.next_batch()) == [number]
        waiting = asyncio.create_task(lane.next_batch())
        await asyncio.sleep(0)
        assert not waiting.done()
        lane.leave(0.0)
        assert offsets(await waiting) == [num_places]


async def test_a_batch_becomes_due_when_items_come_or_the_wait_is_over() -> None:
    """While the device works it must be full; while it is idle, the oldest may have waited long enough."""
    live, _ = lanes_with(max_batch_tokens=20, max_batch_delay_s=0.01)
    coming = asyncio.create_task(live.next_batch())
    await asyncio.sleep(0)
    live.add([tokenized(0, 5)], asyncio.get_running_loop().time())
    live.add([tokenized(1, 5)], asyncio.get_running_loop().time())
    assert offsets(await coming) == [0, 1]
    waiting = asyncio.create_task(live.next_batch())
    live.add([tokenized(2, 5)], 0.0)
    await asyncio.sleep(0)
    assert not waiting.done()
    live.add([tokenized(3, 15)], 0.0)
    assert offsets(await waiting) == [2, 3]


async def test_a_batch_begins_beside_another_where_that_is_worth_a_pass() -> None:
    """A few tokens wait for company until the device is free; as many as are worth it do not, while a pass may run beside."""
    live, _ = lanes_with(max_passes=2, max_batch_tokens=1_000)
    live.add([tokenized(0, 5)], 0.0)
    assert offsets(await live.next_batch()) == [0]
    second = asyncio.create_task(live.next_batch())
    live.add([tokenized(1, 100)], 0.0)
    await asyncio.sleep(0)
    assert not second.done()
    live.add([tokenized(2, 28)], 0.0)
    assert offsets(await second) == [1, 2]
    third = asyncio.create_task(live.next_batch())
    live.add([tokenized(3, 500)], 0.0)
    await asyncio.sleep(0)
    assert not third.done()
    live.leave(0.0)
    assert offsets(await third) == [3]


async def test_what_comes_gathers_while_the_model_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a part of what the last batch took, at most until the device is free; where nothing is on it, not at all."""
    monkeypatch.setattr("worker.flow.lanes._MAX_GATHER_S", 60.0)
    both = lanes_with(max_passes=2)
    live, _ = both
    live.add([tokenized(0, 100), tokenized(1, 100)], 0.0)
    await live.next_batch()
    # Nobody knows yet how long a batch takes.
    await both.gather()
    await live.next_batch()
    live.leave(600.0)
    gathering = asyncio.create_task(both.gather())
    await asyncio.sleep(0)
    assert not gathering.done()
    live.leave(600.0)
    await gathering
    await both.gather()


async def test_nothing_gathers_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a batch takes: what waits unread is not seen by anybody, nor is the poll loop."""
    monkeypatch.setattr("worker.flow.lanes._MAX_GATHER_S", 0.01)
    live, _ = both = lanes_with()
    live.add([tokenized(0, 100), tokenized(1, 100)], 0.0)
    await live.next_batch()
    await live.next_batch()
    live.leave(3_600.0)
    await both.gather()


async def test_backfill_gives_way_while_live_waits_or_is_on_the_device() -> None:
    """And goes on at once afterwards; live gives way to nobody."""
    live, backfill = lanes_with()
    seen: list[str] = []
    assert live.give_way is None
    backfill.add([tokenized(100, 5)], 0.0)
    Pass(backfill, seen).end()
    live.add([tokenized(0, 5)], 0.0)
    held = Pass(backfill, seen)
    seen.append("waits")
    await live.next_batch()
    seen.append("is on the device")
    live.leave(0.0)
    held.end()
    assert seen == ["pass", "waits", "is on the device", "pass"]


async def test_what_nobody_waits_for_is_forgotten_and_holds_nobody_up() -> None:
    """In both lanes."""
    both = lanes_with()
    _, backfill = both
    both.add([tokenized(0, 5), tokenized(100, 5, partition=BACKFILL), tokenized(101, 5, partition=BACKFILL)], 0.0)
    seen: list[str] = []
    held = Pass(backfill, seen)
    seen.append("stale")
    both.discard(lambda it: it.item.record.offset in {0, 100})
    held.end()
    assert seen == ["stale", "pass"]
    assert offsets(await backfill.next_batch()) == [101]


async def test_when_the_worker_stops_nothing_is_held_any_more() -> None:
    """A thread that waited for ever would keep the process from ending."""
    both = lanes_with()
    live, backfill = both
    live.add([tokenized(0, 5)], 0.0)
    seen: list[str] = []
    held = Pass(backfill, seen)
    seen.append("stop")
    both.stop()
    held.end()
    assert seen == ["stop", "pass"]


async def test_a_full_live_load_leaves_backfill_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step waits for ever, or a drain would, and whoever waits for the device to be free."""
    monkeypatch.setattr("worker.flow.lanes._MAX_YIELD_S", 0.01)
    live, backfill = lanes_with()
    live.add([tokenized(0, 5)], 0.0)
    Pass(backfill, []).end()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=40))
def test_everything_leaves_once_within_the_budget_of_its_lane(arrivals: list[tuple[bool, int]]) -> None:
    """Whatever comes when; a text over the budget goes alone."""

    async def run() -> None:
        both = lanes_with(max_batch_tokens=40, max_backfill_batch_tokens=20)
        for number, (is_backfill, weight) in enumerate(arrivals):
            both.add([tokenized(number, weight, partition=BACKFILL if is_backfill else PARTITION)], 0.0)
        left: list[int] = []
        for lane in both:
            while len(lane):
                batch = await lane.next_batch()
                assert len(batch.items) == 1 or batch.num_tokens <= lane.max_tokens
                assert {arrivals[it][0] for it in offsets(batch)} == {lane.give_way is not None}
                left += offsets(batch)
                lane.leave(0.0)
        assert sorted(left) == list(range(len(arrivals)))

    asyncio.run(run())
