"""Reports the metrics of the flow: durations and outputs of each step, and gauges once a second."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from worker.observability.dead_letter_tally import DeadLetterTally, reason_without_data
from worker.observability.load_estimate import LoadEstimator
from worker.records import Record
from worker.wire.fields.names import describe_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from worker.batches import Batch
    from worker.flow.assignment import Assignment
    from worker.observability.metrics import WorkerTelemetry
    from worker.ports import Source
    from worker.records import Outcome, Partition

_INTERVAL_S = 1.0
Number = TypeVar("Number", int, float)


class Monitor:
    """Forwards events of the flow to the telemetry and reads the gauges."""

    def __init__(self, telemetry: WorkerTelemetry) -> None:
        """Report to `telemetry`."""
        self._telemetry = telemetry
        self._load = LoadEstimator()
        # Dead letters since the last log line about dead letters.
        self._tally = DeadLetterTally()
        # Topics whose held dead letters were logged.
        self._held_topics: set[str] = set()

    async def run(self, source: Source, assignment: Assignment, num_waiting: Callable[[], int]) -> None:
        """Report until cancelled; then report the remaining dead letters."""
        try:
            await self._report_gauges(source, assignment, num_waiting)
        finally:
            self._telemetry.dead_letters(self._tally.take_rest())

    async def _report_gauges(self, source: Source, assignment: Assignment, num_waiting: Callable[[], int]) -> None:
        """Report the gauges and the delay of the event loop once a second, and dead letters when they are due."""
        while True:
            due_s = time.monotonic() + _INTERVAL_S
            await asyncio.sleep(_INTERVAL_S)
            now_s = time.monotonic()
            self._telemetry.loop_lag(max(0.0, now_s - due_s))
            self._telemetry.dead_letters(self._tally.take(now_s))
            weights, lag = assignment.weights, source.lag()
            self._telemetry.load(in_flight_tokens=sum(weights.values()), num_waiting=num_waiting())
            self._telemetry.lag(_by_label(lag))
            estimate = self._load.look(now_s, lag_records=lag, in_flight_tokens=weights)
            self._telemetry.load_gauges.show(
                lag_tokens=_by_label(estimate.lag_tokens),
                seconds=_by_label(estimate.seconds_to_drain),
                worker_seconds=estimate.worker_seconds_to_drain,
                capacity_per_s=estimate.capacity_per_s,
            )

    def tokenized(self, partition: Partition, num_tokens: int) -> None:
        """Add the weight of a tokenized record to the load estimate."""
        self._load.tokenized(partition, num_tokens)

    def started(self, batch: Batch, began_s: float, *, max_tokens: int) -> None:
        """Report a batch that leaves the queue; `max_tokens` is the budget of its lane."""
        self._telemetry.batch(
            num_records=len(batch.items),
            num_tokens=batch.num_tokens,
            max_tokens=max_tokens,
            num_truncated=sum(item.tokens.truncated for item in batch.items),
            lane=batch.priority,
        )
        self._telemetry.stage("wait", began_s - batch.since_s)

    def inferred(self, batch: Batch, began_s: float) -> None:
        """Report a forward pass that has just ended."""
        ended_s = time.monotonic()
        self._telemetry.stage("infer", ended_s - began_s)
        num_tokens: Counter[Partition] = Counter()
        for tokenized in batch.items:
            num_tokens[tokenized.item.record.partition] += tokenized.weight
        self._load.inferred(num_tokens, began_s=began_s, ended_s=ended_s)

    def held(self, outcome: Outcome) -> None:
        """Log once for each topic that the dead letters of its first records wait for its first result."""
        topic, failure = outcome.partition.topic, outcome.failures[-1]
        if topic not in self._held_topics:
            self._held_topics.add(topic)
            self._telemetry.dead_letters_held(topic, reason=reason_without_data(failure), fields=describe_fields([outcome.source]))

    def published(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """Report acknowledged outcomes of one partition, whose publication took `seconds`."""
        now_ms = time.time() * 1000
        self._telemetry.stage("publish", seconds)
        self._telemetry.published(message.output for outcome in outcomes for message in outcome.messages)
        for outcome in outcomes:
            if outcome.skip_reason:
                self._telemetry.skipped(outcome.skip_reason)
            for failure in outcome.failures:
                self._telemetry.dead_letter(failure.stage)
                self._tally.count(failure)
        records = [outcome.source for outcome in outcomes if isinstance(outcome.source, Record)]
        latencies_s = [(now_ms - record.timestamp_ms) / 1000 for record in records if record.timestamp_ms >= 0]
        self._telemetry.end_to_end(outcomes[0].partition.topic, latencies_s)


def _by_label(values: Mapping[Partition, Number]) -> dict[tuple[str, int], Number]:
    """Return values by the labels of a partition, topic and index."""
    return {(partition.topic, partition.index): value for partition, value in values.items()}
