"""Trust in a topic: dead letters wait for its first result, and too many of them end the worker."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import OPTIONS, outcome, record
from worker.errors import TooManyDeadLetters
from worker.flow.ledger import Ledger
from worker.flow.trust import TopicTrust, is_failure, is_success
from worker.records import Failure, Message, Outcome, Output, Partition, Record, Stage

HOLD_S = 10.0
KINDS = st.sampled_from(["good", "bad", "tombstone", "partial"])


def trust(*, max_failures: int = 3, max_dead_letters: int = 0, hold_s: float = HOLD_S) -> TopicTrust:
    """Return a trust with small limits."""
    return TopicTrust(max_failures=max_failures, max_dead_letters=max_dead_letters, hold_s=hold_s)


def fate(source: Record, kind: str) -> Outcome:
    """Return the outcome of a record of a kind: a result, a dead letter, both, or a tombstone."""
    failures = (Failure(Stage.DECODE, "InvalidRecord", "there is no `text`"),)
    letter = Message(Output.DEAD_LETTERS, source.key, b"why")
    if kind == "bad":
        return Outcome(source, (letter,), failures)
    if kind == "partial":
        return Outcome(source, (Message(Output.EMBEDDINGS, source.key, b"result"), letter), failures)
    if kind == "tombstone":
        return Outcome(source, (Message(Output.EMBEDDINGS, source.key, None),))
    return outcome(source)


class World:
    """Some partitions of a topic: their lines, what is published of them, and the trust in the topic."""

    def __init__(self, partitions: list[list[str]], trust: TopicTrust) -> None:
        self.trust = trust
        self.lines = [Ledger(0) for _ in partitions]
        self.published: list[list[int]] = [[] for _ in partitions]
        self.records = [
            [record(offset, partition=Partition("texts", index)) for offset in range(len(kinds))]
            for index, kinds in enumerate(partitions)
        ]
        self.kinds = partitions
        # Whether some record has a result.
        self.is_proven = False
        # Failures that are finished.
        self.num_failures = 0
        for line, records in zip(self.lines, self.records, strict=True):
            for source in records:
                line.track(source, 1)

    def finish(self, index: int, offset: int, now_s: float = 0.0) -> None:
        """Finish a record, judge, and publish what may be published."""
        outcome = fate(self.records[index][offset], self.kinds[index][offset])
        assert self.lines[index].finish(outcome)
        self.is_proven |= is_success(outcome)
        self.num_failures += is_failure(outcome)
        self.trust.finish(outcome, now_s)
        self.trust.judge("texts", (line.outcomes() for line in self.lines))
        self.publish()

    def publish(self) -> None:
        """Publish what is finished and not held, partition by partition."""
        for line, published in zip(self.lines, self.published, strict=True):
            if taken := line.take(1_000, holds=self.trust.holds):
                self.trust.check(taken)
                line.published(taken)
                self.trust.publish(taken)
                published += [outcome.offset for outcome in taken]

    def published_kinds(self) -> set[str]:
        """Return the kinds of the records that were published."""
        return {self.kinds[index][offset] for index, offsets in enumerate(self.published) for offset in offsets}


@given(st.lists(st.lists(KINDS, max_size=12), min_size=1, max_size=3), st.integers(1, 8), st.data())
def test_no_dead_letter_passes_before_the_first_result_and_none_is_left_after_it(
    partitions: list[list[str]], max_failures: int, data: st.DataObject
) -> None:
    """In any order of finishing, the worker stops only without a result and at the limit."""
    world = World(partitions, trust(max_failures=max_failures))
    places = [(index, offset) for index, kinds in enumerate(partitions) for offset in range(len(kinds))]
    order = data.draw(st.permutations(places))
    try:
        for index, offset in order:
            world.finish(index, offset)
            if not world.is_proven:
                assert world.published_kinds() <= {"tombstone"}
    except TooManyDeadLetters:
        assert not world.is_proven
        assert world.num_failures >= max_failures
        assert world.published_kinds() <= {"tombstone"}
        return
    assert world.is_proven or world.num_failures < max_failures
    if world.is_proven:
        assert world.published == [list(range(len(kinds))) for kinds in partitions]


@given(st.lists(KINDS, max_size=30), st.integers(1, 8))
def test_in_one_partition_the_first_records_alone_decide(kinds: list[str], max_failures: int) -> None:
    """Records are judged in offset order, whatever finishes first; records after the limit do not count."""
    world = World([kinds], trust(max_failures=max_failures))
    shapes = [kind for kind in kinds if kind != "tombstone"]
    is_wrong = len(shapes) >= max_failures and set(shapes[:max_failures]) == {"bad"}
    # Bad records need no forward pass: they are finished before the good ones, as in a worker.
    order = sorted(range(len(kinds)), key=lambda offset: kinds[offset] in {"good", "partial"})
    stopped = False
    try:
        for offset in order:
            world.finish(0, offset)
    except TooManyDeadLetters:
        stopped = True
    assert stopped is is_wrong


def test_the_line_that_ends_the_worker_says_why_and_what_arrived() -> None:
    """One line has the topic, the count, the last record with stage and reason, the field names and the remedy."""
    model_trust = trust(max_failures=2)
    values = [b'{"id": "1", "body": "secret"}', b'{"id": "2", "payload": {"text": "secret"}}']
    fates = [fate(record(offset, value), "bad") for offset, value in enumerate(values)]
    for one in fates:
        model_trust.finish(one, 0.0)
    with pytest.raises(TooManyDeadLetters) as caught:
        model_trust.judge("texts", [fates])
    said = str(caught.value)
    for part in ("texts: 2 records", "texts-0@1", "decode", "there is no `text`", "id, body, payload, payload.text", "committed"):
        assert part in said
    assert "secret" not in said
    assert "\n" not in said


def test_a_dead_letter_is_held_for_a_bounded_time() -> None:
    """With fewer bad records than the limit, each dead letter is published after its hold time, in order."""
    world = World([["bad", "bad"], ["bad"]], trust(max_failures=4))
    world.finish(0, 0, now_s=0.0)
    world.finish(0, 1, now_s=4.0)
    assert not world.trust.release(9.9)
    assert world.trust.release(10.0)
    world.publish()
    assert world.published == [[0], []]
    assert world.trust.release(14.0)
    world.publish()
    assert world.published == [[0, 1], []]
    world.finish(1, 0, now_s=15.0)
    assert world.published == [[0, 1], []]


def test_published_dead_letters_count_towards_the_limit_once() -> None:
    """A slow topic of bad records reaches the limit; a record that a new session repeats is no new failure."""
    model_trust = trust(max_failures=3, hold_s=0.0)
    fates = [fate(record(offset), "bad") for offset in range(3)]
    for again in range(4):
        for one in fates[:2]:
            model_trust.finish(one, float(again))
        model_trust.judge("texts", [fates[:2]])
        model_trust.publish(fates[:2])
    model_trust.finish(fates[2], 9.0)
    with pytest.raises(TooManyDeadLetters, match="3 records"):
        model_trust.judge("texts", [fates[2:]])


def test_each_topic_earns_its_own_trust() -> None:
    """Results of the live topic say nothing about the records of the backfill topic."""
    model_trust = trust(max_failures=1)
    old = fate(record(0, partition=Partition("old", 0)), "bad")
    assert model_trust.finish(fate(record(0), "good"), 0.0)
    model_trust.finish(old, 0.0)
    assert model_trust.holds(old)
    assert not model_trust.holds(fate(record(1), "bad"))
    with pytest.raises(TooManyDeadLetters, match="old: 1 records"):
        model_trust.judge("old", [[old]])


def test_the_verdict_waits_for_a_record_that_may_be_the_first_result() -> None:
    """An unfinished record before the failures or in another partition delays the error; a later one does not."""
    model_trust = trust(max_failures=2)
    fates = [fate(record(offset), "bad") for offset in range(4)]
    for one in fates:
        model_trust.finish(one, 0.0)
    model_trust.judge("texts", [[None, *fates]])
    model_trust.judge("texts", [fates, [None]])
    model_trust.judge("texts", [fates[:1], [None]])
    with pytest.raises(TooManyDeadLetters):
        model_trust.judge("texts", [[*fates[:2], None]])


@given(st.lists(st.tuples(st.integers(0, 2), KINDS), max_size=40), st.integers(1, 6), st.integers(1, 5))
def test_a_run_of_dead_letters_ends_a_trusted_worker_only_at_the_limit_that_is_set(
    records: list[tuple[int, str]], limit: int, size: int
) -> None:
    """Runs follow the order of publication, and a tombstone does not change a run. Without a limit no run ends the worker."""
    offsets = [itertools.count() for _ in range(3)]
    fates = [fate(record(next(offsets[index]), partition=Partition("texts", index)), kind) for index, kind in records]
    longest = run = 0
    for finished in fates:
        run = 0 if is_success(finished) else run + is_failure(finished)
        longest = max(longest, run)
    unbounded, bounded = trust(hold_s=0.0, max_failures=1_000), trust(hold_s=0.0, max_failures=1_000, max_dead_letters=limit)
    stopped = False
    for _, group in itertools.groupby(fates, key=lambda outcome: outcome.partition):
        for piece in _pieces(list(group), size):
            unbounded.check(piece)
            unbounded.publish(piece)
            try:
                bounded.check(piece)
            except TooManyDeadLetters:
                stopped = True
                break
            bounded.publish(piece)
        if stopped:
            break
    assert stopped is (longest >= limit)


def test_results_that_the_brokers_refuse_count_until_one_is_accepted() -> None:
    """A result before a refused one in the same publication was accepted, because messages are sent in order."""
    model_trust = trust(max_failures=2)
    good, first, second = fate(record(0), "good"), fate(record(1), "bad"), fate(record(2), "bad")
    model_trust.finish(good, 0.0)
    model_trust.refuse(first)
    model_trust.check([first])
    model_trust.refuse(second)
    model_trust.check([good, first, second])
    model_trust.check([fate(record(0, partition=Partition("texts", 1)), "good")])
    with pytest.raises(TooManyDeadLetters, match="refused by the brokers"):
        model_trust.check([first, second, fate(record(3), "good")])
    model_trust.publish([good])
    model_trust.check([first, second])


def test_the_limits_are_those_of_the_flow() -> None:
    """The limit of failures and the hold time come from the options."""
    options = replace(OPTIONS, max_consecutive_failures=1, max_consecutive_dead_letters=5, dead_letter_hold_s=2.0)
    model_trust, bad = TopicTrust.from_options(options), fate(record(0), "bad")
    model_trust.finish(bad, 0.0)
    assert model_trust.holds(bad)
    assert model_trust.release(2.0)
    with pytest.raises(TooManyDeadLetters):
        model_trust.judge("texts", [[bad]])


def _pieces(outcomes: list[Outcome], size: int) -> list[list[Outcome]]:
    return [outcomes[start : start + size] for start in range(0, len(outcomes), size)]
