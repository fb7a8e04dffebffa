"""The lanes: live batches run as if alone, backfill yields to live batches, and every item leaves its queue."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import OPTIONS, PARTITION, tokenized
from worker.batches import Batch, Priority
from worker.flow.lanes import Lanes, build_lanes
from worker.records import Partition

BACKFILL = Partition("old", 0)


@pytest.fixture(autouse=True)
def _yield_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a backfill pass paused however slow the test is."""
    monkeypatch.setattr("worker.flow.lanes._MAX_YIELD_S", 60.0)


def lanes_with(
    *,
    max_passes: int = 1,
    max_batch_tokens: int = 100,
    max_backfill_batch_tokens: int = 20,
    max_batch_delay_s: float = 0.0,
    max_in_flight_tokens: int = 2_000,
) -> Lanes:
    """Return lanes over the topics `texts` and `old`."""
    options = replace(
        OPTIONS,
        max_batch_tokens=max_batch_tokens,
        max_backfill_batch_tokens=max_backfill_batch_tokens,
        backfill_topic="old",
        max_batch_delay_s=max_batch_delay_s,
        max_in_flight_tokens=max_in_flight_tokens,
    )
    lanes = build_lanes(options, max_passes=max_passes)
    assert isinstance(lanes, Lanes)
    return lanes


def offsets(batch: Batch) -> list[int]:
    """Return the offsets of a batch; backfill items have offsets from 100."""
    return [tokenized.item.record.offset for tokenized in batch.items]


class BackfillPass:
    """A backfill pass of one step in a thread. The pass appends to `seen` after its pause."""

    def __init__(self, lanes: Lanes, seen: list[str]) -> None:
        has_begun = threading.Event()

        def run() -> None:
            has_begun.set()
            lanes.yield_to_live()
            seen.append("pass")

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        has_begun.wait(20)

    def end(self) -> None:
        """Wait for the end of the pass; fail the test if the pass remains paused."""
        self._thread.join(20)
        assert not self._thread.is_alive()


async def test_live_and_backfill_items_are_in_different_batches() -> None:
    """Each lane has its own token budget and priority."""
    both = lanes_with()
    both.add([tokenized(number, 10, partition=BACKFILL) for number in (100, 101, 102)], 0.0)
    both.add([tokenized(number, 10) for number in range(3)], 0.0)
    live, backfill = both
    assert len(both) == 6
    live_batch, backfill_batch = await live.next_batch(), await backfill.next_batch()
    assert (offsets(live_batch), live_batch.priority) == ([0, 1, 2], Priority.LIVE)
    assert (offsets(backfill_batch), backfill_batch.priority) == ([100, 101], Priority.BACKFILL)
    assert len(both) == 1
    assert (live.max_tokens, backfill.max_tokens) == (100, 20)


async def test_without_a_backfill_topic_everything_is_live() -> None:
    """Items of every topic are in the live lane."""
    live, _ = both = build_lanes(OPTIONS, max_passes=1)
    both.add([tokenized(100, 5, partition=BACKFILL), tokenized(0, 5)], 0.0)
    assert offsets(await live.next_batch()) == [100, 0]


async def test_a_batch_holds_a_slot_until_the_slot_is_released() -> None:
    """A lane has a slot for each concurrent pass, and two for ready batches."""
    for index, num_slots in ((0, 5), (1, 3)):
        lane = list(lanes_with(max_passes=3))[index]
        lane.add([tokenized(number, 200) for number in range(num_slots + 1)], 0.0)
        for number in range(num_slots):
            assert offsets(await lane.next_batch()) == [number]
        waiting = asyncio.create_task(lane.next_batch())
        await asyncio.sleep(0)
        assert not waiting.done()
        lane.release_slot(0.0)
        assert offsets(await waiting) == [num_slots]


async def test_a_batch_is_due_when_full_or_after_the_maximum_delay() -> None:
    """While the device is busy, the batch must be full. While the device is idle, the delay of the oldest item suffices."""
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


async def test_a_large_batch_starts_while_another_runs_and_a_small_one_waits() -> None:
    """The minimum is 128 tokens, and no more than `max_passes` batches run."""
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
    live.release_slot(0.0)
    assert offsets(await third) == [3]


async def test_polling_pauses_while_batches_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause ends when the device is free. There is no pause before the first batch ends, and none while the device is idle."""
    monkeypatch.setattr("worker.flow.lanes._MAX_GATHER_S", 60.0)
    both = lanes_with(max_passes=2)
    live, _ = both
    live.add([tokenized(0, 100), tokenized(1, 100)], 0.0)
    await live.next_batch()
    # No batch has ended, so its duration is unknown.
    await both.wait_for_more()
    await live.next_batch()
    live.release_slot(600.0)
    gathering = asyncio.create_task(both.wait_for_more())
    await asyncio.sleep(0)
    assert not gathering.done()
    live.release_slot(600.0)
    await gathering
    await both.wait_for_more()


async def test_the_pause_of_polling_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll loop goes on even if a batch takes an hour."""
    monkeypatch.setattr("worker.flow.lanes._MAX_GATHER_S", 0.01)
    live, _ = both = lanes_with()
    live.add([tokenized(0, 100), tokenized(1, 100)], 0.0)
    await live.next_batch()
    await live.next_batch()
    live.release_slot(3_600.0)
    await both.wait_for_more()


async def test_a_backfill_pass_pauses_while_a_live_item_is_queued_or_running() -> None:
    """The pass goes on as soon as the live lane is idle. Queued backfill items do not pause it."""
    live, backfill = both = lanes_with()
    seen: list[str] = []
    backfill.add([tokenized(100, 5)], 0.0)
    BackfillPass(both, seen).end()
    live.add([tokenized(0, 5)], 0.0)
    paused = BackfillPass(both, seen)
    seen.append("queued")
    await live.next_batch()
    seen.append("running")
    live.release_slot(0.0)
    paused.end()
    assert seen == ["pass", "queued", "running", "pass"]


async def test_discarded_items_leave_both_lanes_and_pause_no_backfill_pass() -> None:
    """An item that remains in the queue is in the next batch."""
    both = lanes_with()
    _, backfill = both
    both.add([tokenized(0, 5), tokenized(100, 5, partition=BACKFILL), tokenized(101, 5, partition=BACKFILL)], 0.0)
    seen: list[str] = []
    paused = BackfillPass(both, seen)
    seen.append("stale")
    both.discard(lambda item: item.item.record.offset in {0, 100})
    paused.end()
    assert seen == ["stale", "pass"]
    assert offsets(await backfill.next_batch()) == [101]


async def test_stop_ends_the_pause_of_a_backfill_pass() -> None:
    """A paused thread would keep the process alive."""
    live, _ = both = lanes_with()
    live.add([tokenized(0, 5)], 0.0)
    seen: list[str] = []
    paused = BackfillPass(both, seen)
    seen.append("stop")
    both.stop()
    paused.end()
    assert seen == ["stop", "pass"]


async def test_the_pause_of_a_backfill_pass_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant live load does not starve backfill."""
    monkeypatch.setattr("worker.flow.lanes._MAX_YIELD_S", 0.01)
    live, _ = both = lanes_with()
    live.add([tokenized(0, 5)], 0.0)
    BackfillPass(both, []).end()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=40))
def test_every_item_leaves_once_within_the_budget_of_its_lane(arrivals: list[tuple[bool, int]]) -> None:
    """An item above the budget is a batch of its own."""

    async def run() -> None:
        both = lanes_with(max_batch_tokens=40, max_backfill_batch_tokens=20)
        for number, (is_backfill, weight) in enumerate(arrivals):
            both.add([tokenized(number, weight, partition=BACKFILL if is_backfill else PARTITION)], 0.0)
        left: list[int] = []
        for lane in both:
            while len(lane):
                batch = await lane.next_batch()
                assert len(batch.items) == 1 or batch.num_tokens <= lane.max_tokens
                assert {arrivals[offset][0] for offset in offsets(batch)} == {batch.priority is Priority.BACKFILL}
                left += offsets(batch)
                lane.release_slot(0.0)
        assert sorted(left) == list(range(len(arrivals)))

    asyncio.run(run())


async def test_live_passes_set_the_budgets_of_both_lanes() -> None:
    """With a budget by duration, slow live passes make both lanes smaller. The pauses of a backfill pass teach no speed."""
    both = lanes_with(max_batch_tokens=0, max_backfill_batch_tokens=400, max_in_flight_tokens=65_536)
    live, backfill = both
    assert (live.max_tokens, backfill.max_tokens) == (256, 256)
    both.note_pass(Batch((tokenized(0, 1_000),)), 0.045)
    assert (live.max_tokens, backfill.max_tokens) == (1_024, 400)
    both.note_pass(Batch((tokenized(0, 1_000),), priority=Priority.BACKFILL), 60.0)
    assert live.max_tokens == 1_024
    for _ in range(7):
        both.note_pass(Batch((tokenized(0, 1_000),)), 0.2)
    assert (live.max_tokens, backfill.max_tokens) == (384, 384)
    both.add([tokenized(number, 100) for number in range(4)], 0.0)
    assert offsets(await live.next_batch()) == [0, 1, 2]
