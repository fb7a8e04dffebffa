"""The batcher: batches are within the budget, contain the oldest item, and starve no item and no partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.makers import tokenized
from worker.flow.batching import Batcher
from worker.records import Partition

if TYPE_CHECKING:
    from worker.batches import Batch


TAKEN_OVER = Partition("texts", 99)


def batcher(*, max_tokens: int = 100, max_records: int = 8, max_batch_delay_s: float = 0.01) -> Batcher:
    """Return a small batcher."""
    return Batcher(max_tokens=max_tokens, max_records=max_records, max_batch_delay_s=max_batch_delay_s)


def offsets(batch: Batch | None) -> list[int]:
    """Return the offsets of a batch."""
    return [tokenized.item.record.offset for tokenized in batch.items] if batch else []


def test_an_empty_queue_has_no_batch() -> None:
    queue = batcher()
    assert queue.take(0, device_is_idle=True) is None
    assert queue.due_in_s(0) is None


def test_an_idle_device_gets_a_batch_after_the_maximum_delay() -> None:
    queue = batcher(max_batch_delay_s=0.5)
    queue.add([tokenized(0, 5)], 9.75)
    assert offsets(queue.take(9.75, device_is_idle=True)) == [0]
    queue.add([tokenized(1, 5)], 10.0)
    assert queue.take(10.25, device_is_idle=True) is None
    assert queue.due_in_s(10.25) == 0.25
    assert offsets(queue.take(10.5, device_is_idle=True)) == [1]


def test_the_first_item_after_an_idle_period_is_due_at_once() -> None:
    """An idle period is longer than the maximum delay. The delay applies again to the items that follow."""
    queue = batcher(max_batch_delay_s=0.5)
    queue.add([tokenized(0, 5)], 10.0)
    assert queue.due_in_s(10.0) == 0
    assert offsets(queue.take(10.0, device_is_idle=True)) == [0]
    queue.add([tokenized(1, 5)], 10.75)
    assert queue.due_in_s(10.75) == 0
    queue.add([tokenized(2, 5)], 11.0)
    batch = queue.take(11.0, device_is_idle=True)
    assert batch is not None
    assert (offsets(batch), batch.since_s) == ([1, 2], 10.75)
    queue.add([tokenized(3, 5)], 11.25)
    assert queue.due_in_s(11.25) == 0.5


def test_a_busy_device_gets_only_a_full_batch() -> None:
    """A batch that is not full waits for more items."""
    queue = batcher(max_tokens=10)
    queue.add([tokenized(0, 5)], 0.0)
    assert queue.take(99.0, device_is_idle=False) is None
    queue.add([tokenized(1, 5)], 99.0)
    assert offsets(queue.take(99.0, device_is_idle=False)) == [0, 1]


def test_a_full_batch_is_due_at_once() -> None:
    """A batch is full by records or by tokens."""
    by_records, by_tokens = batcher(max_records=2), batcher(max_tokens=10)
    by_records.add([tokenized(0, 1), tokenized(1, 1)], 0.0)
    by_tokens.add([tokenized(0, 10)], 0.0)
    assert by_records.due_in_s(0.0) == 0
    assert by_tokens.due_in_s(0.0) == 0
    assert len(by_records) == 2
    assert by_tokens.num_tokens == 10


def test_a_limit_of_records_changes_the_next_batches() -> None:
    queue = batcher(max_records=4)
    queue.add([tokenized(number, 1) for number in range(8)], 0.0)
    queue.limit_records(2)
    assert offsets(queue.take(0.0, device_is_idle=False)) == [0, 1]
    queue.limit_records(99)
    assert offsets(queue.take(0.0, device_is_idle=False)) == [2, 3, 4, 5]
    assert queue.take(0.0, device_is_idle=False) is None


def test_an_item_above_the_budget_is_a_batch_of_its_own() -> None:
    """The item leaves as soon as the item is the oldest."""
    queue = batcher(max_tokens=10)
    queue.add([tokenized(0, 3), tokenized(1, 50), tokenized(2, 3)], 0.0)
    assert offsets(queue.take(0.0, device_is_idle=True)) == [0, 2]
    assert offsets(queue.take(0.0, device_is_idle=True)) == [1]


def test_an_item_that_does_not_fit_is_first_in_the_next_batch() -> None:
    """Later items fill the rest of the budget."""
    queue = batcher(max_tokens=10)
    queue.add([tokenized(0, 6), tokenized(1, 6), tokenized(2, 4), tokenized(3, 2)], 0.0)
    assert offsets(queue.take(0.0, device_is_idle=True)) == [0, 2]
    assert offsets(queue.take(1.0, device_is_idle=True)) == [1, 3]


def test_the_search_for_a_fit_ends_after_max_records_items() -> None:
    queue = batcher(max_tokens=10, max_records=3)
    queue.add([tokenized(0, 6), tokenized(1, 6), tokenized(2, 6), tokenized(3, 4)], 0.0)
    assert offsets(queue.take(0.0, device_is_idle=True)) == [0]


def test_stale_items_are_discarded() -> None:
    queue = batcher()
    queue.add([tokenized(n, 5) for n in range(4)], 0.0)
    queue.discard(lambda item: item.item.record.offset % 2 == 0)
    assert len(queue) == 2
    assert queue.num_tokens == 10
    assert offsets(queue.take(1.0, device_is_idle=True)) == [1, 3]


def test_new_items_overtake_the_backlog_of_another_partition() -> None:
    """They leave with the next batch, which still begins with the oldest item. The backlog stays together."""
    queue = batcher(max_tokens=10, max_records=100)
    queue.add([tokenized(n, 1, partition=TAKEN_OVER) for n in range(30)], 0.0)
    assert offsets(queue.take(1.0, device_is_idle=False)) == list(range(10))
    queue.add([tokenized(100, 1), tokenized(101, 1)], 1.0)
    assert offsets(queue.take(2.0, device_is_idle=False)) == [10, 100, 101, *range(11, 18)]


def test_items_that_overtake_fill_at_most_half_of_a_batch() -> None:
    """Many partitions without a backlog do not stop a backlog. What the backlog leaves free is theirs."""
    queue = batcher(max_tokens=10, max_records=100)
    queue.add([tokenized(n, 1, partition=TAKEN_OVER) for n in range(20)], 0.0)
    assert offsets(queue.take(1.0, device_is_idle=False)) == list(range(10))
    queue.add([tokenized(100 + n, 1, partition=Partition("texts", n)) for n in range(12)], 1.0)
    assert offsets(queue.take(2.0, device_is_idle=False)) == [10, *range(100, 105), *range(11, 15)]
    assert offsets(queue.take(2.0, device_is_idle=False)) == [15, *range(105, 110), *range(16, 20)]
    assert offsets(queue.take(2.0, device_is_idle=True)) == [110, 111]


def test_a_partition_with_a_backlog_keeps_its_order() -> None:
    """New items of the partition join its backlog until the partition has no more items in the queue. Then they overtake again."""
    queue = batcher(max_tokens=20, max_records=100)
    queue.add([tokenized(n, 1) for n in range(23)], 0.0)
    assert offsets(queue.take(1.0, device_is_idle=False)) == list(range(20))
    queue.add([tokenized(n, 1) for n in range(23, 45)], 1.0)
    assert offsets(queue.take(2.0, device_is_idle=False)) == list(range(20, 40))
    queue.discard(lambda _item: True)
    queue.add([tokenized(100, 1, partition=TAKEN_OVER)] * 9, 3.0)
    queue.add([tokenized(45, 1)], 3.0)
    assert offsets(queue.take(4.0, device_is_idle=True)) == [100, 45, *[100] * 8]


@given(
    events=st.lists(st.integers(-1, 3), max_size=80),
    max_tokens=st.integers(1, 30),
    max_records=st.integers(1, 20),
)
def test_partitions_overtake_each_other_but_keep_their_order(events: list[int], max_tokens: int, max_records: int) -> None:
    """Each event adds an item of a partition, or takes a batch (-1). Each batch contains the oldest item."""
    queue = batcher(max_tokens=max_tokens, max_records=max_records)
    waiting: list[int] = []
    left: dict[int, list[int]] = {}
    for number, index in enumerate([*events, *[-1] * len(events)]):
        if index >= 0:
            queue.add([tokenized(number, 1, partition=Partition("texts", index))], 0.0)
            waiting.append(number)
            continue
        chosen = offsets(queue.take(1.0, device_is_idle=True))
        assert set(waiting[:1]) <= set(chosen) <= set(waiting)
        assert len(chosen) == min(max_tokens, max_records, len(waiting))
        for item in chosen:
            waiting.remove(item)
            left.setdefault(events[item], []).append(item)
    assert all(own == sorted(own) for own in left.values())
    assert (waiting, len(queue), queue.num_tokens) == ([], 0, 0)


@given(
    weights=st.lists(st.integers(1, 150), min_size=1, max_size=80),
    max_tokens=st.integers(1, 120),
    max_records=st.integers(1, 20),
)
def test_every_item_goes_once_within_the_budget_and_in_time(weights: list[int], max_tokens: int, max_records: int) -> None:
    """Each batch contains the oldest item and is within both budgets. The k-th item has left after k batches."""
    queue = batcher(max_tokens=max_tokens, max_records=max_records)
    queue.add([tokenized(n, weight) for n, weight in enumerate(weights)], 0.0)
    gone: list[int] = []
    num_batches = 0
    while batch := queue.take(1.0, device_is_idle=True):
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
    assert (len(queue), queue.num_tokens) == (0, 0)
