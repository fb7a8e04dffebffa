"""The ledger of a partition session: the records in flight, and the prefix that may be published and committed.

Records finish in any order, but only the longest finished prefix is published. The order of the partition is thus kept,
and no offset is committed before an unfinished record. The weight of the ledger is the tokens in flight. Pure: no
clock, no await, no Kafka.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.errors import InvariantBroken
from worker.records import EmptyRange, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.records import Record, UnreadableRange


@dataclass(slots=True)
class _Entry:
    """A tracked record."""

    # The tracked object. Only an outcome of this object is accepted.
    source: Record | UnreadableRange | EmptyRange
    # The record's memory and work in tokens.
    weight: int
    # None while the record is unfinished.
    outcome: Outcome | None = None


class Ledger:
    """The records of one partition session in offset order.

    Every record is tracked in offset order and finishes once. `take` returns finished records in offset order, up to the first
    unfinished record. Each session has a ledger of its own. A late result of an earlier session is ignored, because the ledger
    tracks another object at that offset, or none.
    """

    def __init__(self, start: int) -> None:
        """Start at `start`, the first offset that the session reads."""
        # The tracked records that were not taken, in offset order.
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        # The offset after the last tracked record. Lower offsets are redeliveries.
        self._end = start
        # The weight of all tracked records that are not published.
        self._weight = 0
        # The number and weight of the records that were taken and are not acknowledged.
        self._num_taken = 0
        self._weight_taken = 0
        # The number of finished records that were not taken.
        self._num_finished = 0
        # All records below this offset are published.
        self._next_offset = start

    @property
    def next_offset(self) -> int:
        """The offset that may be committed: all records below it are published."""
        return self._next_offset

    @property
    def weight(self) -> int:
        """Tokens in flight: of records that are tracked and not published."""
        return self._weight

    @property
    def num_finished(self) -> int:
        """The number of finished records that were not taken."""
        return self._num_finished

    @property
    def is_empty(self) -> bool:
        """Whether all tracked records are published."""
        return not self._entries and not self._num_taken

    def is_held(self, holds: Callable[[Outcome], bool]) -> bool:
        """Return whether all records are finished and the first one is held."""
        if self._num_taken or not self._entries or self._num_finished < len(self._entries):
            return False
        first = next(iter(self._entries.values())).outcome
        return first is not None and holds(first)

    def track(self, source: Record | UnreadableRange, weight: int) -> bool:
        """Track a record with a weight of at least 1; return False for a redelivery."""
        if source.offset < self._end:
            return False
        self._entries[source.offset] = _Entry(source, max(1, weight))
        self._end = source.next_offset
        self._weight += max(1, weight)
        return True

    def skip(self, gap: EmptyRange) -> bool:
        """Track a range without records; return False for a redelivery.

        The range is finished and has no weight. Adjacent ranges are merged, so that the ledger does not grow while an
        earlier record is unfinished.
        """
        if gap.offset < self._end:
            return False
        last = next(reversed(self._entries.values()), None)
        if last is not None and isinstance(last.source, EmptyRange):
            del self._entries[last.source.offset]
            self._num_finished -= 1
            gap = EmptyRange(gap.partition, last.source.offset, gap.next_offset)
        self._entries[gap.offset] = _Entry(gap, 0, Outcome(gap))
        self._end = gap.next_offset
        self._num_finished += 1
        return True

    def is_waiting_for(self, source: Record | UnreadableRange | EmptyRange) -> bool:
        """Return whether this record object is tracked and unfinished."""
        entry = self._entries.get(source.offset)
        return entry is not None and entry.source is source and entry.outcome is None

    def weigh(self, source: Record | UnreadableRange | EmptyRange, weight: int) -> None:
        """Replace the estimated weight of a record."""
        entry = self._entries.get(source.offset)
        if entry is not None and entry.source is source:
            self._weight += max(1, weight) - entry.weight
            entry.weight = max(1, weight)

    def finish(self, outcome: Outcome) -> bool:
        """Set the outcome of a record; return False for a late or second outcome."""
        if not self.is_waiting_for(outcome.source):
            return False
        self._entries[outcome.offset].outcome = outcome
        self._num_finished += 1
        return True

    def outcomes(self) -> Iterator[Outcome | None]:
        """Return the outcome of each record in offset order; None for an unfinished record."""
        return (entry.outcome for entry in self._entries.values())

    def take(self, max_outcomes: int, *, holds: Callable[[Outcome], bool] = lambda _outcome: False) -> list[Outcome]:
        """Take the longest finished prefix of at most `max_outcomes` records for publication; it may be empty.

        The prefix ends before the first outcome for which `holds` is true. Call `published` before the next `take`.
        """
        if self._num_taken:
            raise InvariantBroken("a prefix was taken before the previous prefix was published")
        taken: list[Outcome] = []
        while self._entries and len(taken) < max_outcomes:
            entry = next(iter(self._entries.values()))
            if entry.outcome is None or holds(entry.outcome):
                break
            taken.append(entry.outcome)
            self._weight_taken += entry.weight
            self._entries.popitem(last=False)
        self._num_finished -= len(taken)
        self._num_taken = len(taken)
        return taken

    def published(self, outcomes: list[Outcome]) -> None:
        """Release the weight of the taken outcomes, which are visible; the offset after them may be committed."""
        if not outcomes:
            raise InvariantBroken("a publication had no outcomes")
        self._next_offset = outcomes[-1].next_offset
        self._weight -= self._weight_taken
        self._num_taken = self._weight_taken = 0
