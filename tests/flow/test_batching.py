"""The batcher: within the budget, oldest first, nobody starves, the time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.makers import tokenized
from worker.flow.batching import Batcher

if TYPE_CHECKING:
    from worker.records import Batch


def batcher(*, max_tokens: int = 100, max_records: int = 8, max_batch_delay_s: float = 0.01, look_ahead: int = 8) -> Batcher:
    """Return a small batcher."""
    return Batcher(max_tokens=max_tokens, max_records=max_records, max_batch_delay_s=max_batch_delay_s, look_ahead=look_ahead)


def offsets(batch: Batch | None) -> list[int]:
    """Return the offsets of a batch."""
    return [it.item.record.offset for it in batch.items] if batch else []


def test_nothing_waits_nothing_goes() -> None:
    """An empty waiting room gives no batch and is never due."""
    room = batcher()
    assert room.take(0, device_is_idle=True) is None
    assert room.due_in_s(0) is None


def test_an_idle_device_waits_no_longer_than_the_bound() -> None:
    """An item goes once it has waited, not before."""
    room = batcher(max_batch_delay_s=0.5)
    room.add([tokenized(0, 5)], 9.75)
    assert offsets(room.take(9.75, device_is_idle=True)) == [0]
    room.add([tokenized(1, 5)], 10.0)
    assert room.take(10.25, device_is_idle=True) is None
    assert room.due_in_s(10.25) == 0.25
    assert offsets(room.take(10.5, device_is_idle=True)) == [1]


def test_whoever_comes_after_a_pause_goes_at_once() -> None:
    """Where nobody came for longer than the wait, nobody is waited for; the next but one is."""
    room = batcher(max_batch_delay_s=0.5)
    room.add([tokenized(0, 5)], 10.0)
    assert room.due_in_s(10.0) == 0
    assert offsets(room.take(10.0, device_is_idle=True)) == [0]
    room.add([tokenized(1, 5)], 10.75)
    assert room.due_in_s(10.75) == 0
    room.add([tokenized(2, 5)], 11.0)
    batch = room.take(11.0, device_is_idle=True)
    assert batch is not None
    assert (offsets(batch), batch.since_s) == ([1, 2], 10.75)
    room.add([tokenized(3, 5)], 11.25)
    assert room.due_in_s(11.25) == 0.5


def test_a_busy_device_gets_only_a_full_batch() -> None:
    """What is not full keeps gathering while the device works."""
    room = batcher(max_tokens=10)
    room.add([tokenized(0, 5)], 0.0)
    assert room.take(99.0, device_is_idle=False) is None
    room.add([tokenized(1, 5)], 99.0)
    assert offsets(room.take(99.0, device_is_idle=False)) == [0, 1]


def test_a_full_batch_does_not_wait() -> None:
    """Enough records, or enough tokens, are due at once."""
    by_records, by_tokens = batcher(max_records=2), batcher(max_tokens=10)
    by_records.add([tokenized(0, 1), tokenized(1, 1)], 0.0)
    by_tokens.add([tokenized(0, 10)], 0.0)
    assert by_records.due_in_s(0.0) == 0
    assert by_tokens.due_in_s(0.0) == 0
    assert len(by_records) == 2
    assert by_tokens.num_tokens == 10


def test_an_item_over_the_budget_goes_alone() -> None:
    """It neither waits for ever nor drags others along."""
    room = batcher(max_tokens=10)
    room.add([tokenized(0, 3), tokenized(1, 50), tokenized(2, 3)], 0.0)
    assert offsets(room.take(0.0, device_is_idle=True)) == [0, 2]
    assert offsets(room.take(0.0, device_is_idle=True)) == [1]


def test_what_does_not_fit_is_passed_over_and_keeps_its_place() -> None:
    """The look-ahead fills the rest of the budget; the item passed over is the oldest then."""
    room = batcher(max_tokens=10)
    room.add([tokenized(0, 6), tokenized(1, 6), tokenized(2, 4), tokenized(3, 2)], 0.0)
    assert offsets(room.take(0.0, device_is_idle=True)) == [0, 2]
    assert offsets(room.take(1.0, device_is_idle=True)) == [1, 3]


def test_the_look_ahead_is_bounded() -> None:
    """A fit beyond the bound is not looked for."""
    room = batcher(max_tokens=10, max_records=3, look_ahead=3)
    room.add([tokenized(0, 6), tokenized(1, 6), tokenized(2, 6), tokenized(3, 4)], 0.0)
    assert offsets(room.take(0.0, device_is_idle=True)) == [0]


def test_stale_items_are_discarded() -> None:
    """What nobody waits for any more leaves without a forward pass."""
    room = batcher()
    room.add([tokenized(n, 5) for n in range(4)], 0.0)
    assert room.discard(lambda it: it.item.record.offset % 2 == 0) == 2
    assert room.num_tokens == 10
    assert offsets(room.take(1.0, device_is_idle=True)) == [1, 3]


@given(
    weights=st.lists(st.integers(1, 150), min_size=1, max_size=80),
    max_tokens=st.integers(1, 120),
    max_records=st.integers(1, 20),
    look_ahead=st.integers(0, 40),
)
def test_every_item_goes_once_within_the_budget_and_in_time(
    weights: list[int], max_tokens: int, max_records: int, look_ahead: int
) -> None:
    """Each batch holds the oldest item, obeys both budgets, and the k-th in line is gone after k batches."""
    room = batcher(max_tokens=max_tokens, max_records=max_records, look_ahead=look_ahead)
    room.add([tokenized(n, weight) for n, weight in enumerate(weights)], 0.0)
    gone: list[int] = []
    num_batches = 0
    while batch := room.take(1.0, device_is_idle=True):
        num_batches += 1
        waiting = sorted(set(range(len(weights))) - set(gone))
        chosen = offsets(batch)
        assert chosen[0] == waiting[0]
        assert chosen == sorted(chosen)
        assert len(chosen) <= max_records
        assert batch.num_tokens <= max_tokens or len(chosen) == 1
        gone += chosen
        assert set(range(num_batches)) <= set(gone)
    assert sorted(gone) == list(range(len(weights)))
    assert (len(room), room.num_tokens) == (0, 0)
