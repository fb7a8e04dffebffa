"""What the flow shows of itself: each step's time, what came out, and once a second the gauges and the load."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from worker.observability.dead_letter_tally import DeadLetterTally, reason_without_data
from worker.observability.load_estimate import LoadEstimator
from worker.records import Record
from worker.wire.fields import describe_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.batches import Batch
    from worker.flow.assignment import Assignment
    from worker.observability.metrics import Telemetry
    from worker.ports import Source
    from worker.records import Outcome, Partition

_INTERVAL_S = 1.0


class Monitor:
    """Hands on to the telemetry what it is told, and looks at the worker itself for the rest."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Show everything there."""
        self._telemetry = telemetry
        self._load = LoadEstimator()
        # Dead letters since the last line about them.
        self._tally = DeadLetterTally()
        # Topics of which a line has said that their first records failed.
        self._held_topics: set[str] = set()

    async def run(self, source: Source, assignment: Assignment, num_waiting: Callable[[], int]) -> None:
        """Report the gauges once a second, and the dead letters now and then; those not reported yet at the end."""
        try:
            await self._look(source, assignment, num_waiting)
        finally:
            self._telemetry.dead_letters(self._tally.take_rest())

    async def _look(self, source: Source, assignment: Assignment, num_waiting: Callable[[], int]) -> None:
        """Report the gauges once a second, and how late the event loop wakes us."""
        while True:
            due_s = time.monotonic() + _INTERVAL_S
            await asyncio.sleep(_INTERVAL_S)
            now_s = time.monotonic()
            self._telemetry.loop_lag(max(0.0, now_s - due_s))
            self._telemetry.dead_letters(self._tally.take(now_s))
            weights, lag = assignment.weights, source.lag()
            self._telemetry.load(in_flight_tokens=sum(weights.values()), num_waiting=num_waiting())
            self._telemetry.lag({(it.topic, it.index): num for it, num in lag.items()})
            estimate = self._load.look(now_s, lag_records=lag, in_flight_tokens=weights)
            self._telemetry.load_gauges.show(
                lag_tokens={(it.topic, it.index): num for it, num in estimate.lag_tokens.items()},
                seconds={(it.topic, it.index): num for it, num in estimate.seconds_to_drain.items()},
                worker_seconds=estimate.worker_seconds_to_drain,
                capacity_per_s=estimate.capacity_per_s,
            )

    def tokenized(self, partition: Partition, num_tokens: int) -> None:
        """Note what a record weighs."""
        self._load.tokenized(partition, num_tokens)

    def inferred(self, batch: Batch, began_s: float) -> None:
        """Note a pass that has just ended."""
        ended_s = time.monotonic()
        self._telemetry.stage("infer", ended_s - began_s)
        num_tokens: Counter[Partition] = Counter()
        for it in batch.items:
            num_tokens[it.item.record.partition] += it.weight
        self._load.inferred(num_tokens, began_s=began_s, ended_s=ended_s)

    def held(self, outcome: Outcome) -> None:
        """Say once of each topic that its first records failed and wait for its first result."""
        topic, failure = outcome.partition.topic, outcome.failures[-1]
        if topic not in self._held_topics:
            self._held_topics.add(topic)
            self._telemetry.dead_letters_held(topic, reason=reason_without_data(failure), fields=describe_fields([outcome.source]))

    def published(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """Note what was acknowledged of one partition, after so many seconds."""
        now_ms = time.time() * 1000
        self._telemetry.stage("publish", seconds)
        self._telemetry.published(message.output for outcome in outcomes for message in outcome.messages)
        for outcome in outcomes:
            for failure in outcome.failures:
                self._telemetry.dead_letter(failure.stage)
                self._tally.count(failure)
        sources = [it.source for it in outcomes if isinstance(it.source, Record) and it.source.timestamp_ms >= 0]
        self._telemetry.end_to_end(outcomes[0].partition.topic, [(now_ms - it.timestamp_ms) / 1000 for it in sources])
