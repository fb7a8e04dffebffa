"""Holds the dead letters of a topic until the topic's first result. Pure.

Before the first result, the worker cannot distinguish a bad record from a topic in another format. Until then it
publishes no dead letter and commits no offset of a failed record. The first result releases the dead letters of the
topic in order. A dead letter that was held for `hold_s` is released, too, because every record must end in the outputs
or in the dead letters. After `max_failures` failed records without a result, `TooManyDeadLetters` ends the worker. The
next start reads the held records again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from worker.errors import TooManyDeadLetters
from worker.records import Output
from worker.wire.fields.names import describe_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.flow.options import Options
    from worker.records import Outcome, Partition


# The causes that `TooManyDeadLetters` names.
_WRONG_FORMAT = "so the topic has another format than this worker reads"
_REFUSED = "and no result was accepted: check cleanup.policy and max.message.bytes of the output topics"


def is_success(outcome: Outcome) -> bool:
    """Return whether an outcome has a result. A tombstone is no result, because a null value has no format."""
    return any(message.output is not Output.DEAD_LETTERS and message.value is not None for message in outcome.messages)


def is_failure(outcome: Outcome) -> bool:
    """Return whether an outcome has dead letters and no result."""
    return bool(outcome.failures) and not is_success(outcome)


@dataclass(slots=True)
class _Topic:
    """The results and failures of one input topic."""

    #: Whether a record of the topic has a result.
    is_proven: bool = False
    #: Whether a result of the topic was acknowledged.
    is_acknowledged: bool = False
    #: Failures before the first result. A record that is read twice counts twice.
    num_failures: int = 0
    #: Acknowledged failures since the last acknowledged result.
    run: int = 0
    #: The time since which each failed record is held, in seconds.
    held_since_s: dict[tuple[Partition, int], float] = field(default_factory=dict)
    #: Records whose results the brokers refused, before the first acknowledged result.
    refused: set[tuple[Partition, int]] = field(default_factory=set)


class TopicTrust:
    """The state of each input topic. The pipeline reports each outcome and asks before each publication."""

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Return an instance with the limits of the options."""
        return cls(
            max_failures=options.max_consecutive_failures,
            max_dead_letters=options.max_consecutive_dead_letters,
            hold_s=options.dead_letter_hold_s,
        )

    def __init__(self, *, max_failures: int, max_dead_letters: int, hold_s: float) -> None:
        """Start without a result of any topic.

        `max_failures` limits the failures before the first result of a topic. `max_dead_letters` limits consecutive
        dead letters at any time (0 for no limit). A dead letter is held for at most `hold_s` seconds.
        """
        self._max_failures = max_failures
        self._max_dead_letters = max_dead_letters
        self._hold_s = hold_s
        # By name of the input topic.
        self._topics: defaultdict[str, _Topic] = defaultdict(_Topic)
        # The offset after the last acknowledged record of each partition. Records that are read again count once.
        self._next_offset: dict[Partition, int] = {}

    def is_proven(self, name: str) -> bool:
        """Return whether a record of a topic has a result. Then `finish` and `judge` have no effect, and nothing is held."""
        return self._topics[name].is_proven

    def finish(self, outcome: Outcome, now_s: float) -> bool:
        """Add an outcome; return whether the outcome is the first result of its topic and has released dead letters."""
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
        """Return whether an outcome, and all later ones of its partition, must wait."""
        held = self._topics[outcome.partition.topic].held_since_s
        return bool(held) and (outcome.partition, outcome.offset) in held

    def release(self, now_s: float) -> bool:
        """Release dead letters that have been held for `hold_s`; return whether there were any."""
        is_any = False
        for topic in self._topics.values():
            due = [record for record, since_s in topic.held_since_s.items() if now_s - since_s >= self._hold_s]
            for record in due:
                del topic.held_since_s[record]
            is_any |= bool(due)
        return is_any

    def judge(self, name: str, partitions: Iterable[Iterable[Outcome | None]]) -> None:
        """Raise `TooManyDeadLetters` if a topic without a result has too many failures.

        Each element of `partitions` has the outcomes of a partition in offset order, with None for an unfinished
        record. The check waits for an unfinished record after fewer than `max_failures` failures: the record may have
        the first result.
        """
        topic = self._topics[name]
        # The outcomes are only read if the limit may be exceeded.
        if topic.is_proven or topic.num_failures < self._max_failures:
            return
        failed: list[Outcome] = []
        for outcomes in partitions:
            leading, is_undecided = _find_leading_failures(outcomes, self._max_failures)
            if is_undecided:
                return
            failed += (outcome for outcome in leading if self._is_new(outcome))
        if topic.run + len(failed) >= self._max_failures:
            self._stop(name, failed, topic.run + len(failed), "failed before the first result", _WRONG_FORMAT)

    def refuse(self, outcome: Outcome) -> None:
        """Add the outcome of a record after a broker refused one of its messages."""
        topic = self._topics[outcome.partition.topic]
        if not topic.is_acknowledged and is_failure(outcome):
            topic.refused.add((outcome.partition, outcome.offset))

    def check(self, outcomes: Sequence[Outcome]) -> None:
        """Raise `TooManyDeadLetters` if these next outcomes of a partition must not be published."""
        name = outcomes[0].partition.topic
        topic = self._topics[name]
        if len(topic.refused) >= self._max_failures and not self._is_one_accepted(outcomes):
            self._stop(name, outcomes, len(topic.refused), "were refused by the brokers", _REFUSED)
        if not any(outcome.failures for outcome in outcomes):
            return
        run = topic.run
        for number, outcome in enumerate(outcomes, start=1):
            run = self._extend_run(run, outcome)
            if 0 < self._max_dead_letters <= run:
                self._stop(
                    name, outcomes[:number], run, "in a row had no result (GIST_MAX_CONSECUTIVE_DEAD_LETTERS)", _WRONG_FORMAT
                )

    def publish(self, outcomes: Sequence[Outcome]) -> None:
        """Add acknowledged outcomes of a partition, in order."""
        partition = outcomes[0].partition
        topic = self._topics[partition.topic]
        for outcome in outcomes:
            topic.run = self._extend_run(topic.run, outcome)
        self._next_offset[partition] = max(outcomes[-1].next_offset, self._next_offset.get(partition, 0))
        if any(map(is_success, outcomes)):
            topic.is_acknowledged = True
            topic.refused.clear()

    def _is_one_accepted(self, outcomes: Sequence[Outcome]) -> bool:
        """Return whether the brokers may have accepted a result: a result before the last refused record was accepted."""
        topic = self._topics[outcomes[0].partition.topic]
        refused = [number for number, outcome in enumerate(outcomes) if (outcome.partition, outcome.offset) in topic.refused]
        return topic.is_acknowledged or not refused or any(map(is_success, outcomes[: refused[-1]]))

    def _is_new(self, outcome: Outcome) -> bool:
        return outcome.offset >= self._next_offset.get(outcome.partition, 0)

    def _extend_run(self, run: int, outcome: Outcome) -> int:
        """Return the number of consecutive failures after one more outcome. A tombstone changes nothing."""
        if is_success(outcome):
            return 0
        return run + (is_failure(outcome) and self._is_new(outcome))

    def _stop(self, name: str, outcomes: Sequence[Outcome], num_failures: int, what: str, cause: str) -> None:
        last = next(outcome for outcome in reversed(outcomes) if outcome.failures)
        failure = last.failures[-1]
        reason = " ".join(failure.message.split())
        if "fields seen: " not in reason:
            reason += f"; {describe_fields(outcome.source for outcome in outcomes if is_failure(outcome))}"
        raise TooManyDeadLetters(
            f"{name}: {num_failures} records {what}, {cause}; the last, "
            f"{last.partition}@{last.offset}, failed to {failure.stage}: {failure.error}: {reason}; "
            "unpublished records are not committed: correct the producer or the settings and start the worker again"
        )


def _find_leading_failures(outcomes: Iterable[Outcome | None], max_failures: int) -> tuple[list[Outcome], bool]:
    """Return up to `max_failures` failures from the start, and whether an unfinished record follows them."""
    failed: list[Outcome] = []
    for outcome in outcomes:
        if outcome is None:
            return failed, True
        if is_failure(outcome):
            failed.append(outcome)
        if len(failed) >= max_failures:
            break
    return failed, False
