"""What is finished, and what may therefore be published and committed: the line of one partition session.

The idea is the commit watermark: records finish in any order, but only the longest finished prefix leaves, so that the order
of the partition is kept and no offset is committed over a record that is still in work. The same object measures load, because
what it still holds is exactly what is in flight. Pure: no clock, no await, no Kafka.
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
    """One record in line."""

    # The very object that was tracked: a result counts only for it.
    source: Record | UnreadableRange | EmptyRange
    # What the record still costs in memory and work, in tokens.
    weight: int
    # Its fate, once it has one.
    outcome: Outcome | None = None


class Ledger:
    """The line of one partition session.

    Every record is tracked in offset order and finishes once. `take` hands out finished records in offset order and never past
    one that is unfinished. A session that ends throws its ledger away; a late result of it then finds that the next session's
    ledger tracks another object at that offset, or nothing, and is ignored.
    """

    def __init__(self, start: int) -> None:
        """Begin at `start`, the offset that the session reads first."""
        # Records that were tracked and not yet taken, in offset order.
        self._line: OrderedDict[int, _Entry] = OrderedDict()
        # The offset after the last tracked record: nothing below it may come again.
        self._end = start
        # The sum of the weights of all that was tracked and not yet released.
        self._weight = 0
        # Taken for publication and not yet acknowledged, and their weight: still in flight.
        self._num_taken = 0
        self._weight_taken = 0
        # Records that have a fate and were not yet taken.
        self._num_finished = 0
        # Everything below is published.
        self._next_offset = start

    @property
    def next_offset(self) -> int:
        """The offset that may be committed: everything below it is published."""
        return self._next_offset

    @property
    def weight(self) -> int:
        """Tokens in flight: tracked and not yet published."""
        return self._weight

    @property
    def num_finished(self) -> int:
        """Records that are finished and wait to be taken, or for those before them."""
        return self._num_finished

    @property
    def is_empty(self) -> bool:
        """Whether everything that was tracked is published."""
        return not self._line and not self._num_taken

    def is_held(self, holds: Callable[[Outcome], bool]) -> bool:
        """Tell whether all that is left in line is finished and waits for an outcome that `holds` is true of."""
        if self._num_taken or not self._line or self._num_finished < len(self._line):
            return False
        first = next(iter(self._line.values())).outcome
        return first is not None and holds(first)

    def track(self, source: Record | UnreadableRange, weight: int) -> bool:
        """Put a record in line with a weight of at least 1; return False for one below the end of the line: a redelivery."""
        if source.offset < self._end:
            return False
        self._line[source.offset] = _Entry(source, max(1, weight))
        self._end = source.next_offset
        self._weight += max(1, weight)
        return True

    def skip(self, gap: EmptyRange) -> bool:
        """Put a range without records in line; return False for one below the end of the line: a redelivery.

        The range is finished at once and weighs nothing. A range that follows another becomes one with it, so that the line
        does not grow while a record before them is still in work.
        """
        if gap.offset < self._end:
            return False
        last = next(reversed(self._line.values()), None)
        if last is not None and isinstance(last.source, EmptyRange):
            del self._line[last.source.offset]
            self._num_finished -= 1
            gap = EmptyRange(gap.partition, last.source.offset, gap.next_offset)
        self._line[gap.offset] = _Entry(gap, 0, Outcome(gap))
        self._end = gap.next_offset
        self._num_finished += 1
        return True

    def is_waiting_for(self, source: Record | UnreadableRange | EmptyRange) -> bool:
        """Tell whether this very record is in line and unfinished: only then is work on it worth anything."""
        entry = self._line.get(source.offset)
        return entry is not None and entry.source is source and entry.outcome is None

    def weigh(self, source: Record | UnreadableRange | EmptyRange, weight: int) -> None:
        """Correct the weight of a record, now that its tokens are counted."""
        entry = self._line.get(source.offset)
        if entry is not None and entry.source is source:
            self._weight += max(1, weight) - entry.weight
            entry.weight = max(1, weight)

    def finish(self, outcome: Outcome) -> bool:
        """Note the fate of a record; return False where nobody waits for it any more (a late or second result)."""
        if not self.is_waiting_for(outcome.source):
            return False
        self._line[outcome.offset].outcome = outcome
        self._num_finished += 1
        return True

    def outcomes(self) -> Iterator[Outcome | None]:
        """Return the outcome of each record in line, in offset order; None for a record that is unfinished."""
        return (entry.outcome for entry in self._line.values())

    def take(self, max_outcomes: int, *, holds: Callable[[Outcome], bool] = lambda _outcome: False) -> list[Outcome]:
        """Take the longest finished prefix, at most `max_outcomes` of it, for publication; empty where the first is unfinished.

        The prefix ends before the first outcome that `holds` is true of. What was taken must be acknowledged by
        `published` before more is taken.
        """
        if self._num_taken:
            raise InvariantBroken("a prefix was taken while the one before was still being published")
        taken: list[Outcome] = []
        while self._line and len(taken) < max_outcomes:
            entry = next(iter(self._line.values()))
            if entry.outcome is None or holds(entry.outcome):
                break
            taken.append(entry.outcome)
            self._weight_taken += entry.weight
            self._line.popitem(last=False)
        self._num_finished -= len(taken)
        self._num_taken = len(taken)
        return taken

    def published(self, outcomes: list[Outcome]) -> None:
        """Note that what was taken is visible: its weight is released, and the offset after it may be committed."""
        if not outcomes:
            raise InvariantBroken("nothing was published")
        self._next_offset = outcomes[-1].next_offset
        self._weight -= self._weight_taken
        self._num_taken = self._weight_taken = 0
