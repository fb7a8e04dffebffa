"""Counts the outputs of a stream, notes when each record was answered, and computes throughput. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.testbed.delivery_audit import DeliveryAudit, read_source
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.records import Output, Record
    from worker.testbed.delivery_audit import Source


@dataclass(slots=True)
class Answer:
    """One answered record; times in milliseconds since the epoch."""

    #: Timestamp of the input: its due time.
    due_ms: int
    #: Time at which the broker appended the last output.
    done_ms: int
    num_tokens: int = 0
    #: Partition of the input.
    partition: int = 0

    @property
    def wait_ms(self) -> int:
        """Time from the input's timestamp to that of the last output."""
        return self.done_ms - self.due_ms


class StreamTally:
    """Counts every output, in phases; a repeated output is a duplicate and never an answer."""

    def __init__(self) -> None:
        self.audit = DeliveryAudit()
        # Answers of the current phase.
        self._answers: dict[Source, Answer] = {}

    def note(self, output: Output, record: Record) -> None:
        """Count an output record."""
        num_duplicates = self.audit.num_duplicates
        self.audit.note(output, record)
        if self.audit.num_duplicates > num_duplicates:
            return
        headers = read_headers(record.headers)
        source, due_ms = read_source(record), int(headers["gist-source-timestamp"])
        answer = self._answers.setdefault(source, Answer(due_ms, record.timestamp_ms, partition=source[0]))
        answer.done_ms = max(answer.done_ms, record.timestamp_ms)
        # A dead letter has no tokens.
        answer.num_tokens = int(headers.get("gist-tokens", b"0"))

    def end_phase(self) -> list[Answer]:
        """Return the answers of this phase in the order of completion, and begin the next phase."""
        answers, self._answers = self._answers, {}
        return sorted(answers.values(), key=lambda answer: answer.done_ms)


def steady_per_s(done_ms: Sequence[float], *, skipped: float = 0.1) -> float:
    """Return the records per second in the middle of a run, from ascending times of completion.

    The first and the last share `skipped` do not count. The rate is the slope of the least-squares line of time over number:
    each end of a run may lie anywhere in a burst, so the two ends alone say little. Zero if no line can be drawn.
    """
    num_skipped = int(len(done_ms) * skipped)
    middle = np.asarray(done_ms[num_skipped : len(done_ms) - num_skipped], dtype=np.float64)
    if len(middle) == 0 or middle[0] == middle[-1]:
        return 0.0
    ms_per_record, _ = np.polyfit(np.arange(len(middle)), middle - middle[0], 1)
    return 1000 / float(ms_per_record)
