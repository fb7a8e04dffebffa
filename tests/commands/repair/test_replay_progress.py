"""The progress of a replay: an offset, and the ranges above it that are done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.repair.replay_progress import ReplayProgress
from worker.errors import BadSettings

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=20)


@given(next_offset=st.integers(0, 30), pieces=st.lists(RANGES, max_size=4))
def test_progress_holds_exactly_the_handled_offsets_in_any_order(next_offset: int, pieces: list[list[tuple[int, int]]]) -> None:
    """The progress is equal after it is written and read back."""
    handled = ReplayProgress(next_offset)
    for ranges in pieces:
        handled = handled.with_ranges(ranges)
    expected = {
        offset for offset in range(80) if offset < next_offset or any(a <= offset < b for ranges in pieces for a, b in ranges)
    }
    assert {offset for offset in range(80) if offset in handled} == expected
    assert handled.next_offset not in handled
    assert ReplayProgress.read(handled.next_offset, handled.words) == handled


@pytest.mark.parametrize("words", ["", "somebody else's", "1:", "1:x+1", "1:1", "2:1+1"])
def test_words_of_somebody_else_count_for_nothing(words: str) -> None:
    """Metadata of another program is ignored, and the offset is used."""
    assert ReplayProgress.read(7, words) == ReplayProgress(7)


def test_too_many_ranges_of_offsets_are_refused_in_one_line() -> None:
    """A broker limits the size of the metadata of an offset."""
    handled = ReplayProgress().with_ranges([(offset, offset + 1) for offset in range(1, 3_000, 2)])
    with pytest.raises(BadSettings, match="replay or drop the oldest dead letters first"):
        _ = handled.words
