"""Which items go next: the oldest, and with it whatever else fits. Pure: the time is an argument.

Texts are packed without padding, so the cost of a batch is the sum of its tokens, whatever their mixture; what remains to
decide is how to fill the token budget. The oldest item always goes; a bounded look-ahead then fills the rest, first fit in
order of arrival, so that a long text that does not fit holds up nobody and becomes the oldest soon itself.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.records import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.records import TokenizedItem


@dataclass(slots=True)
class _Waiting:
    """An item and its weight; when it came, and until when it waits for company, in seconds of the caller's clock."""

    item: TokenizedItem
    weight: int
    since_s: float
    until_s: float


class Batcher:
    """The waiting room before the model.

    A batch holds at most `max_tokens` tokens and `max_records` items, except that an item over the token budget goes alone. It
    is due when it is full, or when the device is idle and the oldest item has waited for `max_batch_delay_s`; at once after
    a longer pause, for then no company will come in time either. Every batch holds the oldest item, so that nobody starves: an
    item that is the k-th in line leaves within k batches.
    """

    def __init__(self, *, max_tokens: int, max_records: int, max_batch_delay_s: float, look_ahead: int) -> None:
        """Bound a batch by tokens and records, the wait in seconds, and the look-ahead in items."""
        # The budget of one forward pass.
        self._max_tokens = max_tokens
        # The most items of one forward pass.
        self._max_records = max_records
        # How long the oldest item waits for company while the device is idle.
        self._max_wait_s = max_batch_delay_s
        # How far past the oldest item the search for a fit goes; it must reach as far as a batch can.
        self._look_ahead = max(look_ahead, max_records)
        # Everybody, in order of arrival.
        self._line: deque[_Waiting] = deque()
        # The sum of their weights.
        self._num_tokens = 0
        # When the last item came; none has yet.
        self._last_s = -math.inf

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._line)

    @property
    def num_tokens(self) -> int:
        """How many tokens wait."""
        return self._num_tokens

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Put items at the end of the line."""
        until_s = now_s if now_s - self._last_s > self._max_wait_s else now_s + self._max_wait_s
        for item in items:
            weight = item.weight
            self._line.append(_Waiting(item, weight, now_s, until_s))
            self._num_tokens += weight
            self._last_s = now_s

    def take(self, now_s: float, *, device_is_idle: bool) -> Batch | None:
        """Return the next batch if one is due, else None."""
        if not self._line or not (self._is_full() or (device_is_idle and self.due_in_s(now_s) == 0)):
            return None
        since_s = self._line[0].since_s
        chosen = self._chosen(self._max_tokens, self._max_records, goes_anyway=True)
        return Batch(tuple(chosen), since_s)

    def fill(self, *, max_tokens: int, max_records: int) -> list[TokenizedItem]:
        """Return, due or not, what fits within these bounds: the company of another room's batch."""
        return self._chosen(max_tokens, max_records, goes_anyway=False)

    def _chosen(self, max_tokens: int, max_records: int, *, goes_anyway: bool) -> list[TokenizedItem]:
        """Take from the line, oldest first, whatever fits; the oldest of all even where it does not, if it `goes_anyway`."""
        chosen: list[TokenizedItem] = []
        passed_over: list[_Waiting] = []
        room = max_tokens
        for _ in range(min(self._look_ahead, len(self._line))):
            if room <= 0 or len(chosen) >= max_records:
                break
            waiting = self._line.popleft()
            if waiting.weight <= room or (goes_anyway and not chosen):
                chosen.append(waiting.item)
                room -= waiting.weight
            else:
                passed_over.append(waiting)
        self._line.extendleft(reversed(passed_over))
        self._num_tokens -= max_tokens - room
        return chosen

    def due_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds an idle device should take a batch: 0 for now, None while nobody waits."""
        if not self._line:
            return None
        if self._is_full():
            return 0.0
        return max(0.0, self._line[0].until_s - now_s)

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> int:
        """Forget the items that nobody waits for any more and return how many they were."""
        kept = deque(waiting for waiting in self._line if not is_stale(waiting.item))
        num_discarded = len(self._line) - len(kept)
        self._line = kept
        self._num_tokens = sum(waiting.weight for waiting in kept)
        return num_discarded

    def _is_full(self) -> bool:
        return self._num_tokens >= self._max_tokens or len(self._line) >= self._max_records
