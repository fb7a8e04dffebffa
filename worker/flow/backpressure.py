"""How much is read: two numbers on one gauge, the tokens in flight. Above `high` nothing more, at or below `low` again.

Of that, one partition may hold a half, or one whose line stands still would take the room of all others, and backfill a quarter:
it waits in its topic, where it is in nobody's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.flow.assignment import Assignment
    from worker.flow.options import Options
    from worker.records import Partition

_SHARE_OF_A_PARTITION = 2
_SHARE_OF_BACKFILL = 4
# Records of backfill that are taken at a time: live ones wait while they are decoded and tokenized.
_MAX_POLL_RECORDS_OF_BACKFILL = 64


class Backpressure:
    """Says what to ask the source for, given what is in flight."""

    def __init__(self, assignment: Assignment, options: Options) -> None:
        """Watch the weight of an assignment."""
        self._assignment = assignment
        self._options = options
        # Whether the gauge allows more records.
        self._has_room = True

    def next_poll(self) -> tuple[list[Partition], int]:
        """Return the partitions to read from now, none where there is no room, and how many records at most."""
        weight, high = self._assignment.weight, self._options.max_in_flight_tokens
        if weight > high:
            self._has_room = False
        elif weight <= self._options.resume_in_flight_tokens:
            self._has_room = True
        if not self._has_room:
            return [], self._options.max_poll_records
        partitions, backfill = self._assignment.list_partitions_below(high // _SHARE_OF_A_PARTITION), self._options.backfill_topic
        if backfill is None:
            return partitions, self._options.max_poll_records
        if self._assignment.get_weight(backfill) > high // _SHARE_OF_BACKFILL:
            return [it for it in partitions if it.topic != backfill], self._options.max_poll_records
        return partitions, min(_MAX_POLL_RECORDS_OF_BACKFILL, self._options.max_poll_records)
