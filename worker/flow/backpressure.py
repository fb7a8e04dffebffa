"""Backpressure: which partitions to poll, according to the tokens in flight.

Polling stops above `max_in_flight_tokens` and resumes at or below `resume_in_flight_tokens`. One partition has at most
half of the tokens, so that a blocked partition does not stop the others. Backfill has at most a quarter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.flow.assignment import Assignment
    from worker.flow.options import Options
    from worker.records import Partition

# One partition has at most 1/2 of the tokens in flight, backfill at most 1/4.
_PARTITION_DIVISOR = 2
_BACKFILL_DIVISOR = 4
# The most backfill records of one poll: live records wait while these are decoded and tokenized.
_MAX_BACKFILL_POLL_RECORDS = 64


class Backpressure:
    """Chooses the partitions of the next poll."""

    def __init__(self, assignment: Assignment, options: Options) -> None:
        """Use the tokens in flight of `assignment`."""
        self._assignment = assignment
        self._options = options
        # Whether the tokens in flight allow more records.
        self._accepts_records = True

    def next_poll(self) -> tuple[list[Partition], int]:
        """Return the partitions to poll, none above the limit, and the maximum number of records."""
        weight, max_weight = self._assignment.weight, self._options.max_in_flight_tokens
        if weight > max_weight:
            self._accepts_records = False
        elif weight <= self._options.resume_in_flight_tokens:
            self._accepts_records = True
        if not self._accepts_records:
            return [], self._options.max_poll_records
        partitions, backfill = (
            self._assignment.list_partitions_below(max_weight // _PARTITION_DIVISOR),
            self._options.backfill_topic,
        )
        if backfill is None:
            return partitions, self._options.max_poll_records
        if self._assignment.get_weight(backfill) > max_weight // _BACKFILL_DIVISOR:
            return [partition for partition in partitions if partition.topic != backfill], self._options.max_poll_records
        return partitions, min(_MAX_BACKFILL_POLL_RECORDS, self._options.max_poll_records)
