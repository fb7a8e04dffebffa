"""The lanes: live goes as if it were alone, backfill takes what is left, and nobody is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.makers import OPTIONS, PARTITION, tokenized
from worker.lanes import Lanes, lanes_of
from worker.records import Partition

if TYPE_CHECKING:
    from worker.records import Batch

BACKFILL = Partition("old", 0)


def lanes(*, batch_tokens: int = 100, backfill_batch_tokens: int = 20, max_wait_s: float = 0.0) -> Lanes:
    """Return lanes over the topics `texts` and `old`."""
    return lanes_of(
        replace(
            OPTIONS,
            backfill_topic="old",
            batch_tokens=batch_tokens,
            backfill_batch_tokens=backfill_batch_tokens,
            max_wait_s=max_wait_s,
        )
    )


def offsets(batch: Batch | None) -> list[int]:
    """Return the offsets of a batch; the tests give backfill those from 100 on."""
    return [it.item.record.offset for it in batch.items] if batch else []


def test_a_live_batch_is_filled_up_with_backfill() -> None:
    """Up to the tokens that backfill may fill, and no further."""
    both = lanes()
    both.add([tokenized(number, 5, partition=BACKFILL) for number in (100, 101, 102)], 0.0)
    both.add([tokenized(0, 8)], 0.0)
    assert len(both) == 4
    assert offsets(both.take(0.0, device_is_idle=True)) == [0, 100, 101]
    assert offsets(both.take(0.0, device_is_idle=True)) == [102]
    assert len(both) == 0


def test_a_full_live_batch_leaves_backfill_nothing() -> None:
    """However long it has waited."""
    both = lanes()
    both.add([tokenized(100, 5, partition=BACKFILL)], 0.0)
    both.add([tokenized(number, 10) for number in range(8)], 99.0)
    assert offsets(both.take(99.0, device_is_idle=True)) == list(range(8))


def test_backfill_is_not_made_ready_while_the_device_works() -> None:
    """A live record that comes meanwhile shall be the next."""
    both = lanes()
    both.add([tokenized(number, 10, partition=BACKFILL) for number in range(100, 110)], 0.0)
    assert both.take(0.0, device_is_idle=False) is None
    both.add([tokenized(0, 20)], 0.0)
    assert offsets(both.take(0.0, device_is_idle=True)) == [0]
    assert offsets(both.take(0.0, device_is_idle=True)) == [100, 101]


def test_backfill_does_not_go_before_live_that_waits_for_company() -> None:
    """The wait is short, and a pass of backfill would be longer."""
    both = lanes(max_wait_s=0.5)
    both.add([tokenized(0, 5)], 9.75)
    assert offsets(both.take(9.75, device_is_idle=True)) == [0]
    both.add([tokenized(1, 5)], 10.0)
    both.add([tokenized(100, 20, partition=BACKFILL)], 10.0)
    assert both.take(10.0, device_is_idle=True) is None
    assert both.due_in_s(10.0) == 0.5
    assert offsets(both.take(10.5, device_is_idle=True)) == [1]
    assert both.due_in_s(10.5) == 0.0


def test_a_backfilled_text_over_its_budget_goes_alone() -> None:
    """It is no reason to stand still."""
    both = lanes()
    both.add([tokenized(100, 64, partition=BACKFILL), tokenized(101, 5, partition=BACKFILL)], 0.0)
    assert offsets(both.take(0.0, device_is_idle=True)) == [100]
    assert offsets(both.take(0.0, device_is_idle=True)) == [101]


def test_what_nobody_waits_for_is_forgotten_in_both() -> None:
    """As in one room."""
    both = lanes()
    both.add([tokenized(0, 5), tokenized(100, 5, partition=BACKFILL), tokenized(1, 5)], 0.0)
    assert both.discard(lambda it: it.item.record.partition == BACKFILL or it.item.record.offset == 0) == 2
    assert offsets(both.take(0.0, device_is_idle=True)) == [1]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=40),
    st.lists(st.booleans(), max_size=40),
)
def test_everything_leaves_once_in_order_of_its_lane(arrivals: list[tuple[bool, int]], is_idle: list[bool]) -> None:
    """Whatever comes when, within the budgets; live is in every batch as long as somebody live waits."""
    both, left = lanes(batch_tokens=40, backfill_batch_tokens=20), []
    live_waiting = 0
    for number, (is_backfill, weight) in enumerate(arrivals):
        both.add([tokenized(number, weight, partition=BACKFILL if is_backfill else PARTITION)], 0.0)
        live_waiting += not is_backfill
    for device_is_idle in [*is_idle, *[True] * len(arrivals)]:
        batch = both.take(0.0, device_is_idle=device_is_idle)
        if batch is None:
            continue
        num_live = sum(it.item.record.partition == PARTITION for it in batch.items)
        assert num_live or not live_waiting
        assert len(batch.items) == 1 or batch.num_tokens <= (40 if num_live else 20)
        live_waiting -= num_live
        left += offsets(batch)
    assert sorted(left) == list(range(len(arrivals)))
