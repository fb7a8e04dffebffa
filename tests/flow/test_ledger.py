"""The ledger: only the contiguous finished prefix leaves, whatever the order of finishing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import PARTITION, outcome, record
from worker.errors import InvariantBroken
from worker.flow.ledger import Ledger
from worker.records import EmptyRange, Outcome, UnreadableRange


def offsets(outcomes: list[Outcome]) -> list[int]:
    """Return the offsets of some outcomes."""
    return [result.offset for result in outcomes]


def test_no_record_is_taken_before_the_first_is_finished() -> None:
    """A finished record after an unfinished one stays."""
    ledger = Ledger(5)
    first, second = record(5), record(6)
    ledger.track(first, 1)
    ledger.track(second, 1)
    ledger.finish(outcome(second))
    assert ledger.take(10) == []
    ledger.finish(outcome(first))
    assert offsets(ledger.take(10)) == [5, 6]


def test_take_returns_at_most_max_outcomes() -> None:
    ledger = Ledger(0)
    for offset in range(5):
        ledger.track(record(offset), 1)
    for offset in range(5):
        ledger.finish(outcome(ledger._entries[offset].source))  # type: ignore[arg-type]
    taken = ledger.take(3)
    assert offsets(taken) == [0, 1, 2]
    ledger.published(taken)
    assert ledger.next_offset == 3


def test_num_finished_counts_finished_records_that_were_not_taken() -> None:
    """Records after an unfinished one count, too."""
    ledger = Ledger(0)
    records = [record(offset) for offset in range(3)]
    for source in records:
        ledger.track(source, 1)
    ledger.finish(outcome(records[2]))
    ledger.finish(outcome(records[2]))
    assert ledger.num_finished == 1
    ledger.finish(outcome(records[0]))
    ledger.take(10)
    assert ledger.num_finished == 1


def test_a_second_take_before_the_publication_of_the_first_is_a_bug() -> None:
    ledger = Ledger(0)
    for source in (record(0), record(1)):
        ledger.track(source, 1)
        ledger.finish(outcome(source))
    ledger.take(1)
    with pytest.raises(InvariantBroken, match="previous prefix"):
        ledger.take(1)


def test_a_publication_without_outcomes_is_a_bug() -> None:
    with pytest.raises(InvariantBroken, match="no outcomes"):
        Ledger(0).published([])


def test_a_redelivered_record_is_not_tracked_again() -> None:
    """Offsets below the last tracked offset are refused."""
    ledger = Ledger(3)
    assert not ledger.track(record(2), 1)
    assert ledger.track(record(3), 1)
    assert not ledger.track(record(3), 1)


def test_a_late_result_of_an_earlier_session_is_ignored() -> None:
    """The next session tracks another object at the same offset."""
    stale, fresh = record(0), record(0)
    ledger = Ledger(0)
    ledger.track(fresh, 1)
    assert not ledger.finish(outcome(stale))
    assert not ledger.is_waiting_for(stale)
    assert ledger.take(1) == []
    assert ledger.finish(outcome(fresh))


def test_a_record_finishes_once() -> None:
    """The second result of a record is ignored."""
    ledger = Ledger(0)
    only = record(0)
    ledger.track(only, 1)
    assert ledger.finish(outcome(only))
    assert not ledger.finish(Outcome(only))
    assert len(ledger.take(1)[0].messages) == 1


def test_an_unreadable_range_moves_the_offset_past_its_end() -> None:
    """One dead letter stands for the whole range."""
    ledger = Ledger(10)
    hole = UnreadableRange(PARTITION, 10, 25, "UnicodeDecodeError", "header key")
    ledger.track(hole, 0)
    assert not ledger.track(record(24), 1)
    assert ledger.track(record(25), 1)
    ledger.finish(Outcome(hole))
    ledger.published(ledger.take(1))
    assert ledger.next_offset == 25


def test_the_weight_is_the_tokens_in_flight() -> None:
    """The weight falls at the acknowledgement and follows corrections."""
    ledger = Ledger(0)
    first, second = record(0), record(1)
    ledger.track(first, 10)
    ledger.track(second, 0)
    assert ledger.weight == 11
    ledger.weigh(first, 4)
    ledger.weigh(record(1), 100)
    assert ledger.weight == 5
    ledger.finish(outcome(first))
    taken = ledger.take(1)
    assert ledger.weight == 5
    assert not ledger.is_empty
    ledger.published(taken)
    assert ledger.weight == 1
    assert not ledger.is_empty


def test_an_empty_range_waits_for_the_records_before_it_and_weighs_nothing() -> None:
    """The offset after the range may be committed once the records before it are published."""
    ledger = Ledger(0)
    first = record(0)
    ledger.track(first, 3)
    assert ledger.skip(EmptyRange(PARTITION, 1, 4))
    assert ledger.take(10) == []
    ledger.finish(outcome(first))
    assert (ledger.weight, ledger.num_finished) == (3, 2)
    taken = ledger.take(10)
    assert offsets(taken) == [0, 1]
    ledger.published(taken)
    assert (ledger.next_offset, ledger.weight, ledger.is_empty) == (4, 0, True)
    assert not ledger.skip(EmptyRange(PARTITION, 1, 4))


def test_an_empty_range_alone_is_in_flight_until_it_is_published() -> None:
    """A session that is drained waits for the range, although the range weighs nothing."""
    ledger = Ledger(7)
    ledger.skip(EmptyRange(PARTITION, 7, 8))
    assert not ledger.is_empty
    taken = ledger.take(10)
    assert not ledger.is_empty
    with pytest.raises(InvariantBroken):
        ledger.take(10)
    ledger.published(taken)
    assert (ledger.next_offset, ledger.is_empty) == (8, True)


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=50), num_taken=st.integers(0, 3))
def test_adjacent_empty_ranges_are_merged(lengths: list[int], num_taken: int) -> None:
    """The ledger does not grow while an earlier record is unfinished."""
    ledger = Ledger(0)
    blocking = record(0)
    ledger.track(blocking, 1)
    offset = 1
    for length in lengths:
        assert ledger.skip(EmptyRange(PARTITION, offset, offset + length))
        offset += length
    assert ledger.num_finished == 1
    ledger.track(record(offset), 1)
    ledger.finish(outcome(blocking))
    taken = ledger.take(2 + num_taken)
    assert [(result.offset, result.next_offset) for result in taken] == [(0, 1), (1, offset)]
    ledger.published(taken)
    assert (ledger.next_offset, ledger.num_finished, ledger.weight) == (offset, 0, 1)


@given(
    start=st.integers(0, 10**12),
    gaps=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    order=st.randoms(use_true_random=False),
    batch=st.integers(1, 10),
)
def test_records_are_published_in_offset_order_in_any_order_of_finishing(
    start: int, gaps: list[int], order: object, batch: int
) -> None:
    """Every record is taken once, and none after an unfinished record."""
    ledger = Ledger(start)
    sources = [record(start + sum(gaps[:n])) for n in range(len(gaps))]
    for source in sources:
        ledger.track(source, source.offset % 7)
    finished: set[int] = set()
    left: list[int] = []
    shuffled = list(sources)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    for source in shuffled:
        ledger.finish(outcome(source))
        finished.add(source.offset)
        while taken := ledger.take(batch):
            ledger.published(taken)
            left += offsets(taken)
        expected = []
        for tracked in sources:
            if tracked.offset not in finished:
                break
            expected.append(tracked.offset)
        assert left == expected
        assert ledger.next_offset == (left[-1] + 1 if left else start)
    assert ledger.is_empty
    assert ledger.weight == 0


def test_a_prefix_ends_before_a_held_outcome() -> None:
    """The held outcome and all later ones stay in order until the release."""
    ledger, held = Ledger(0), {1}
    records = [record(offset) for offset in range(3)]
    for source in records:
        ledger.track(source, 1)
    for source in records[:2]:
        ledger.finish(outcome(source))
    assert [result and result.offset for result in ledger.outcomes()] == [0, 1, None]
    taken = ledger.take(10, holds=lambda result: result.offset in held)
    assert offsets(taken) == [0]
    ledger.published(taken)
    # The last record may still have an outcome that changes everything.
    assert not ledger.is_held(lambda result: result.offset in held)
    ledger.finish(outcome(records[2]))
    assert ledger.take(10, holds=lambda result: result.offset in held) == []
    assert ledger.is_held(lambda result: result.offset in held)
    held.clear()
    assert not ledger.is_held(lambda result: result.offset in held)
    assert offsets(ledger.take(10, holds=lambda result: result.offset in held)) == [1, 2]
