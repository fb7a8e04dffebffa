"""Whether the records of a topic are what this worker reads: dead letters wait for the topic's first result. Pure.

Before the first result of a topic, nothing tells a bad record from a topic whose records all have the wrong shape. So
until then a record that failed is held: neither its dead letter is published nor its offset committed. The first result
proves the topic and releases all of its dead letters, in order. A dead letter that was held for `hold_s` is released
too, because every record ends in the outputs or in the dead letters, also where a topic has only a few bad records.
Where `max_failures` records failed before the first result, `TooManyDeadLetters` ends the worker, and the next start
reads again what was still held.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from worker.errors import TooManyDeadLetters
from worker.records import Output
from worker.wire.fields import describe_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.flow.options import Options
    from worker.records import Outcome, Partition


def is_success(outcome: Outcome) -> bool:
    """Tell whether a result comes of a record. A tombstone is no result: a null value has no shape."""
    return any(message.output is not Output.DEAD_LETTERS and message.value is not None for message in outcome.messages)


def is_failure(outcome: Outcome) -> bool:
    """Tell whether nothing but dead letters come of a record."""
    return bool(outcome.failures) and not is_success(outcome)


@dataclass(slots=True)
class _Topic:
    """What is known of one input topic."""

    #: Whether some record of the topic has a result.
    is_proven: bool = False
    #: Whether a result of the topic was acknowledged.
    is_acknowledged: bool = False
    #: Failures before the first result; a record that was read twice counts twice.
    num_failures: int = 0
    #: Failures that were acknowledged since the last result that was acknowledged.
    run: int = 0
    #: Since when each failed record waits for the first result, in seconds.
    held_since_s: dict[tuple[Partition, int], float] = field(default_factory=dict)
    #: Records of which the brokers refused every result, before the first result was acknowledged.
    refused: set[tuple[Partition, int]] = field(default_factory=set)


class Trust:
    """What is known of each input topic: told of each outcome, and asked before each publication."""

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Return a trust with the limits of a flow."""
        return cls(
            max_failures=options.max_consecutive_failures,
            max_dead_letters=options.max_consecutive_dead_letters,
            hold_s=options.dead_letter_hold_s,
        )

    def __init__(self, *, max_failures: int, max_dead_letters: int, hold_s: float) -> None:
        """Trust no topic yet.

        `max_failures` bounds the failures before the first result of a topic, `max_dead_letters` a run of dead letters
        at any time (0: no bound). A dead letter is held for `hold_s` seconds at most.
        """
        self._max_failures = max_failures
        self._max_dead_letters = max_dead_letters
        self._hold_s = hold_s
        # By name of the input topic.
        self._topics: defaultdict[str, _Topic] = defaultdict(_Topic)
        # By partition, the offset after the last acknowledged record: a record that is read again counts once.
        self._next_offset: dict[Partition, int] = {}

    def finish(self, outcome: Outcome, now_s: float) -> bool:
        """Note the fate of a record; return whether this was the first result of its topic, so that dead letters were released."""
        topic = self._topics[outcome.partition.topic]
        if topic.is_proven:
            return False
        if is_success(outcome):
            topic.is_proven = True
            topic.held_since_s.clear()
            return True
        if is_failure(outcome):
            topic.num_failures += 1
            if self._hold_s > 0:
                topic.held_since_s[outcome.partition, outcome.offset] = now_s
        return False

    def holds(self, outcome: Outcome) -> bool:
        """Tell whether an outcome, and all behind it in its partition, may not be published yet."""
        topic = self._topics[outcome.partition.topic]
        return (outcome.partition, outcome.offset) in topic.held_since_s

    def release(self, now_s: float) -> bool:
        """Release what has been held for long enough; return whether that was anything."""
        is_any = False
        for topic in self._topics.values():
            due = [place for place, since_s in topic.held_since_s.items() if now_s - since_s >= self._hold_s]
            for place in due:
                del topic.held_since_s[place]
            is_any |= bool(due)
        return is_any

    def judge(self, name: str, lines: Iterable[Iterable[Outcome | None]]) -> None:
        """Raise `TooManyDeadLetters` where a topic without a result has too many failures.

        A line holds the outcomes of a partition in offset order, with None for a record that is unfinished. The verdict waits for
        an unfinished record with fewer than `max_failures` failures before it in its partition: it may be the first result.
        """
        topic = self._topics[name]
        # The lines are only walked where the answer may be yes.
        if topic.is_proven or topic.num_failures < self._max_failures:
            return
        failed: list[Outcome] = []
        for line in lines:
            leading, is_undecided = _leading(line, self._max_failures)
            if is_undecided:
                return
            failed += (outcome for outcome in leading if self._is_new(outcome))
        if topic.run + len(failed) >= self._max_failures:
            self._stop(name, failed, topic.run + len(failed), "failed before the first result")

    def refuse(self, outcome: Outcome) -> None:
        """Note what is left of a record after a broker refused a message of it."""
        topic = self._topics[outcome.partition.topic]
        if not topic.is_acknowledged and is_failure(outcome):
            topic.refused.add((outcome.partition, outcome.offset))

    def check(self, outcomes: Sequence[Outcome]) -> None:
        """Raise `TooManyDeadLetters` where these outcomes, next in their partition, may not be published."""
        name = outcomes[0].partition.topic
        topic = self._topics[name]
        if len(topic.refused) >= self._max_failures and not self._is_one_accepted(outcomes):
            self._stop(name, outcomes, len(topic.refused), "were refused by the brokers and no result was accepted")
        run = topic.run
        for number, outcome in enumerate(outcomes, start=1):
            run = self._prolonged(run, outcome)
            if 0 < self._max_dead_letters <= run:
                self._stop(name, outcomes[:number], run, "in a row had no result (GIST_MAX_CONSECUTIVE_DEAD_LETTERS)")

    def publish(self, outcomes: Sequence[Outcome]) -> None:
        """Note that these outcomes, in order, are acknowledged."""
        topic = self._topics[outcomes[0].partition.topic]
        for outcome in outcomes:
            topic.run = self._prolonged(topic.run, outcome)
            self._next_offset[outcome.partition] = max(outcome.next_offset, self._next_offset.get(outcome.partition, 0))
        if any(map(is_success, outcomes)):
            topic.is_acknowledged = True
            topic.refused.clear()

    def _is_one_accepted(self, outcomes: Sequence[Outcome]) -> bool:
        """Tell whether the brokers may have taken a result of these: in order of sending, one before the last refused was taken."""
        topic = self._topics[outcomes[0].partition.topic]
        refused = [number for number, outcome in enumerate(outcomes) if (outcome.partition, outcome.offset) in topic.refused]
        return topic.is_acknowledged or not refused or any(map(is_success, outcomes[: refused[-1]]))

    def _is_new(self, outcome: Outcome) -> bool:
        return outcome.offset >= self._next_offset.get(outcome.partition, 0)

    def _prolonged(self, run: int, outcome: Outcome) -> int:
        """Return the length of a run of failures after one more outcome; a tombstone neither prolongs nor ends a run."""
        if is_success(outcome):
            return 0
        return run + (is_failure(outcome) and self._is_new(outcome))

    def _stop(self, name: str, outcomes: Sequence[Outcome], num_failures: int, what: str) -> None:
        seen = describe_fields(outcome.source for outcome in outcomes if is_failure(outcome))
        last = next(outcome for outcome in reversed(outcomes) if outcome.failures)
        failure = last.failures[-1]
        raise TooManyDeadLetters(
            f"{name}: {num_failures} records {what}, so these are not the records that this worker reads; the last, "
            f"{last.partition}@{last.offset}, failed to {failure.stage}: {failure.error}: {' '.join(failure.message.split())}; "
            f"{seen}; what was not published is not committed: correct the producer or the settings and start the worker again"
        )


def _leading(line: Iterable[Outcome | None], max_failures: int) -> tuple[list[Outcome], bool]:
    """Return the failures that a line begins with, at most so many, and whether a record without an outcome comes next."""
    failed: list[Outcome] = []
    for outcome in line:
        if outcome is None:
            return failed, True
        if is_failure(outcome):
            failed.append(outcome)
        if len(failed) >= max_failures:
            break
    return failed, False
