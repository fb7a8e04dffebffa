"""Dead letters in the log: counts by stage and reason, at once and then after each interval."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.observability.dead_letter_tally import INTERVAL_S, DeadLetterTally, reason_without_data
from worker.records import Failure, Stage

NO_TEXT = Failure(Stage.DECODE, "InvalidRecord", "there is no `text`")


def test_the_first_dead_letter_is_reported_at_once_and_the_next_after_the_interval() -> None:
    """An interval without dead letters has no report."""
    tally = DeadLetterTally()
    assert tally.take(0.0) == {}
    tally.count(NO_TEXT)
    assert tally.take(1.0) == {"decode: InvalidRecord: there is no `text`": 1}
    tally.count(NO_TEXT)
    tally.count(NO_TEXT)
    assert tally.take(INTERVAL_S + 0.9) == {}
    assert tally.take(INTERVAL_S + 1.0) == {"decode: InvalidRecord: there is no `text`": 2}
    tally.count(NO_TEXT)
    assert tally.take_rest() == {"decode: InvalidRecord: there is no `text`": 1}
    assert tally.take_rest() == {}


def test_messages_that_differ_in_numbers_or_names_are_one_reason() -> None:
    """Numbers and names come from the record, so the log does not show them."""
    messages = [f"the value has {n} bytes; at most 1,048,576 are read" for n in (5, 60)]
    assert {reason_without_data(Failure(Stage.DECODE, "InvalidRecord", message)) for message in messages} == {
        "decode: InvalidRecord: the value has # bytes; at most # are read"
    }
    quoted = Failure(Stage.DECODE, "InvalidRecord", "there is no task 'secret';\n this worker serves embed")
    assert reason_without_data(quoted) == "decode: InvalidRecord: there is no task '…'; this worker serves embed"


@given(st.lists(st.tuples(st.sampled_from(Stage), st.text(max_size=300)), max_size=60), st.lists(st.floats(0, 1_000), max_size=5))
def test_every_dead_letter_is_counted_once(letters: list[tuple[Stage, str]], moments: list[float]) -> None:
    """A line has at most 11 reasons, and the counts add up to the number of dead letters."""
    tally, counted = DeadLetterTally(), 0
    times = iter(sorted(moments))
    for number, (stage, message) in enumerate(letters):
        tally.count(Failure(stage, "Error", message))
        if number % 7 == 0 and (now_s := next(times, None)) is not None:
            counts = tally.take(now_s)
            assert len(counts) <= 11
            assert all(len(reason) <= 240 and "\n" not in reason for reason in counts)
            counted += sum(counts.values())
    assert counted + sum(tally.take_rest().values()) == len(letters)
