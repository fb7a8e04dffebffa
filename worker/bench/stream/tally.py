"""What came out of a stream: for each message when the last of its outputs was appended, and the account of all of them. Pure."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.testbed.delivery_audit import DeliveryAudit, read_source
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.records import Output, Record
    from worker.testbed.delivery_audit import Place


@dataclass(slots=True)
class Answer:
    """One message that was answered; times in milliseconds since the epoch."""

    #: The input's timestamp: when the message was due.
    due_ms: int
    #: When the broker appended the last of its outputs.
    done_ms: int
    num_tokens: int = 0
    #: Of the input.
    partition: int = 0

    @property
    def wait_ms(self) -> int:
        """From the input's timestamp to the last output's."""
        return self.done_ms - self.due_ms


class StreamTally:
    """Takes every output record, by phase; what comes again counts as a duplicate and never as an answer."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.account = DeliveryAudit()
        # The answers of the phase that goes on.
        self._answers: dict[Place, Answer] = {}

    def note(self, output: Output, record: Record) -> None:
        """Take an output record."""
        num_duplicates = self.account.num_duplicates
        self.account.note(output, record)
        if self.account.num_duplicates > num_duplicates:
            return
        headers = read_headers(record.headers)
        place, due_ms = read_source(record), int(headers["gist-source-timestamp"])
        answer = self._answers.setdefault(place, Answer(due_ms, record.timestamp_ms, partition=place[0]))
        answer.done_ms = max(answer.done_ms, record.timestamp_ms)
        # A dead letter has no tokens.
        answer.num_tokens = int(headers.get("gist-tokens", b"0"))

    def end_phase(self) -> list[Answer]:
        """Return the answers of this phase, in the order in which they were done, and begin the next."""
        answers, self._answers = self._answers, {}
        return sorted(answers.values(), key=lambda it: it.done_ms)


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a second brings."""

    messages_per_s: float
    tokens_per_s: float


def throughput(done_ms: Sequence[float], num_tokens: Sequence[int], *, skipped: float = 0.1) -> Throughput:
    """Return the speed from ascending times of completion, without a first part of them: the warm-up.

    Work in batches is done in bursts: skip whole ones where they are few. Zero where nothing is left.
    """
    num_skipped = max(1, int(len(done_ms) * skipped))
    if len(done_ms) < num_skipped + 1:
        return Throughput(0.0, 0.0)
    # The clock starts with the last that is skipped; what was done in the same millisecond is not after it.
    start_ms = done_ms[num_skipped - 1]
    first = bisect.bisect_right(done_ms, start_ms)
    seconds = (done_ms[-1] - start_ms) / 1000
    if seconds <= 0:
        return Throughput(0.0, 0.0)
    return Throughput((len(done_ms) - first) / seconds, sum(num_tokens[first:]) / seconds)


def steady_per_s(done_ms: Sequence[float], *, skipped: float = 0.1) -> float:
    """Return the messages a second of the middle of a run, from ascending times of completion: without its first and last part.

    The slope of the best straight line, time against number: where messages are done in bursts, the two ends of a run say little
    of its speed, because each may lie anywhere in a burst. Zero where there is nothing to draw a line through.
    """
    num_skipped = int(len(done_ms) * skipped)
    middle = np.asarray(done_ms[num_skipped : len(done_ms) - num_skipped], dtype=np.float64)
    if len(middle) == 0 or middle[0] == middle[-1]:
        return 0.0
    numbers = np.arange(len(middle)) - (len(middle) - 1) / 2
    ms_per_message = float(numbers @ (middle - middle.mean()) / (numbers @ numbers))
    return 1000 / ms_per_message
