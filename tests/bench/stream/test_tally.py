"""The tally: when a message was done, how fast they came, and what came twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.stream.tally import StreamTally, steady_per_s, throughput
from worker.records import Output, Partition, Record

RESULTS = (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES)


def output(offset: int, *, due_ms: int, done_ms: int, num_tokens: int = 7) -> Record:
    """Return a message of an output topic."""
    headers = {
        "gist-source-partition": 0,
        "gist-source-offset": offset,
        "gist-source-timestamp": due_ms,
        "gist-tokens": num_tokens,
    }
    return Record(Partition("out", 0), 0, None, b"{}", tuple((it, b"%d" % value) for it, value in headers.items()), done_ms)


def test_a_message_is_done_with_the_last_of_its_outputs() -> None:
    """And a phase forgets those of the phase before, which the account does not."""
    tally = StreamTally()
    tally.account.num_produced = 2
    for number, it in enumerate(RESULTS):
        tally.note(it, output(0, due_ms=1_000, done_ms=1_020 + number))
    assert [(it.wait_ms, it.num_tokens) for it in tally.end_phase()] == [(22, 7)]
    for it in RESULTS:
        tally.note(it, output(1, due_ms=2_000, done_ms=2_005))
    assert [it.wait_ms for it in tally.end_phase()] == [5]
    assert (tally.account.num_missing, tally.account.num_duplicates) == (0, 0)


def test_what_comes_again_is_no_answer() -> None:
    """It is a duplicate, and neither its time nor its tokens count."""
    tally = StreamTally()
    tally.account.num_produced = 1
    for it in (*RESULTS, Output.LABELS):
        tally.note(it, output(0, due_ms=0, done_ms=10))
    tally.note(Output.LABELS, output(0, due_ms=0, done_ms=9_000))
    assert [it.wait_ms for it in tally.end_phase()] == [10]
    assert tally.account.num_duplicates == 2
    tally.note(Output.LABELS, output(0, due_ms=0, done_ms=9_000))
    assert tally.end_phase() == []


def test_a_dead_letter_is_an_answer_without_tokens() -> None:
    """Its headers say none."""
    tally = StreamTally()
    letter = output(0, due_ms=0, done_ms=3)
    tally.note(Output.DEAD_LETTERS, Record(letter.partition, 0, None, b"{}", letter.headers[:-1], 3))
    assert [(it.wait_ms, it.num_tokens) for it in tally.end_phase()] == [(3, 0)]


@given(st.integers(1, 50), st.integers(20, 400), st.integers(1, 9))
def test_steady_work_has_its_own_speed(per_step: int, num_steps: int, num_tokens: int) -> None:
    """Also where a whole batch is done in one millisecond, and the first tenth ends in the middle of one."""
    done_ms = [1e6 + 10 * step for step in range(num_steps) for _ in range(per_step)]
    found = throughput(done_ms, [num_tokens] * len(done_ms))
    assert found.messages_per_s == pytest.approx(per_step * 100)
    assert found.tokens_per_s == pytest.approx(per_step * 100 * num_tokens)


def test_the_beginning_does_not_count() -> None:
    """The first tenth is warm-up; of too little there is no speed."""
    slow_start = [0.0, *(1_000.0 + it for it in range(99))]
    assert throughput(slow_start, [1] * 100).messages_per_s == pytest.approx(1_000)
    assert throughput([0.0, 500.0, 1_000.0, 1_001.0, 1_002.0], [1] * 5, skipped=0.6).messages_per_s == pytest.approx(1_000)
    assert throughput([1.0], [1]).messages_per_s == 0
    assert throughput([1.0, 1.0, 1.0], [1, 1, 1]).messages_per_s == 0
    assert throughput([], []).messages_per_s == 0


def test_a_burst_that_ends_a_batch_is_not_its_speed() -> None:
    """Two batches of four, a second apart, each acknowledged within three milliseconds: four a second."""
    done_ms = [0.0, 1.0, 2.0, 3.0, 1_000.0, 1_001.0, 1_002.0, 1_003.0]
    assert throughput(done_ms, [2] * 8, skipped=0.5).messages_per_s == pytest.approx(4)
    assert throughput(done_ms, [2] * 8, skipped=0.5).tokens_per_s == pytest.approx(8)


@given(st.integers(1, 300), st.integers(8, 40), st.integers(0, 299))
def test_bursts_have_the_speed_of_their_steps(per_burst: int, num_bursts: int, num_missing: int) -> None:
    """Wherever in a burst the measured part begins and ends."""
    done_ms = [1e12 + 1_000 * burst for burst in range(num_bursts) for _ in range(per_burst)]
    found = steady_per_s(done_ms[min(num_missing, per_burst - 1) :])
    assert found == pytest.approx(per_burst, rel=0.1)


def test_the_ends_of_a_run_do_not_count() -> None:
    """Neither a slow start nor the last few that waited; of too little there is no speed."""
    done_ms = [0.0] * 10 + [10_000.0 + it for it in range(80)] + [90_000.0] * 10
    assert steady_per_s(done_ms) == pytest.approx(1_000)
    assert (steady_per_s([]), steady_per_s([1.0]), steady_per_s([1.0] * 9)) == (0, 0, 0)
