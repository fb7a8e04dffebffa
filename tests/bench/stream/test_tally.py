"""The tally: times of completion, rates, repetitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.stream.tally import StreamTally, steady_per_s
from worker.records import Output, Partition, Record

RESULTS = (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES)


def output(offset: int, *, due_ms: int, done_ms: int, num_tokens: int = 7) -> Record:
    """Return a record of an output topic."""
    headers = {
        "gist-source-partition": 0,
        "gist-source-offset": offset,
        "gist-source-timestamp": due_ms,
        "gist-tokens": num_tokens,
    }
    return Record(Partition("out", 0), 0, None, b"{}", tuple((name, b"%d" % value) for name, value in headers.items()), done_ms)


def test_a_message_is_done_with_the_last_of_its_outputs() -> None:
    """A phase starts without answers; the audit spans all phases."""
    tally = StreamTally()
    tally.audit.num_produced = 2
    for number, result in enumerate(RESULTS):
        tally.note(result, output(0, due_ms=1_000, done_ms=1_020 + number))
    assert [(answer.wait_ms, answer.num_tokens) for answer in tally.end_phase()] == [(22, 7)]
    for result in RESULTS:
        tally.note(result, output(1, due_ms=2_000, done_ms=2_005))
    assert [answer.wait_ms for answer in tally.end_phase()] == [5]
    assert (tally.audit.num_missing, tally.audit.num_duplicates) == (0, 0)


def test_a_repeated_output_is_no_answer() -> None:
    """A repeated output is a duplicate; its time and tokens do not count."""
    tally = StreamTally()
    tally.audit.num_produced = 1
    for result in (*RESULTS, Output.LABELS):
        tally.note(result, output(0, due_ms=0, done_ms=10))
    tally.note(Output.LABELS, output(0, due_ms=0, done_ms=9_000))
    assert [answer.wait_ms for answer in tally.end_phase()] == [10]
    assert tally.audit.num_duplicates == 2
    tally.note(Output.LABELS, output(0, due_ms=0, done_ms=9_000))
    assert tally.end_phase() == []


def test_a_dead_letter_is_an_answer_without_tokens() -> None:
    """The headers have no number of tokens."""
    tally = StreamTally()
    letter = output(0, due_ms=0, done_ms=3)
    tally.note(Output.DEAD_LETTERS, Record(letter.partition, 0, None, b"{}", letter.headers[:-1], 3))
    assert [(answer.wait_ms, answer.num_tokens) for answer in tally.end_phase()] == [(3, 0)]


@given(st.integers(1, 300), st.integers(8, 40), st.integers(0, 299))
def test_the_steady_rate_of_bursts_is_their_mean_rate(per_burst: int, num_bursts: int, num_missing: int) -> None:
    """The measured part may begin and end anywhere in a burst."""
    done_ms = [1e12 + 1_000 * burst for burst in range(num_bursts) for _ in range(per_burst)]
    found = steady_per_s(done_ms[min(num_missing, per_burst - 1) :])
    assert found == pytest.approx(per_burst, rel=0.1)


def test_the_ends_of_a_run_do_not_count() -> None:
    """A slow start and a slow end have no effect; too few records have no rate."""
    done_ms = [0.0] * 10 + [10_000.0 + number for number in range(80)] + [90_000.0] * 10
    assert steady_per_s(done_ms) == pytest.approx(1_000)
    assert (steady_per_s([]), steady_per_s([1.0]), steady_per_s([1.0] * 9)) == (0, 0, 0)
