"""Selects the items of the next batch. Pure: time is an argument.

Texts are packed without padding, so the cost of a batch is the sum of its tokens. The batcher fills the token budget by
first fit in order of arrival: every batch contains the oldest item. An item that does not fit stays at the head of the
queue and is in the next batch.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.batches import Batch, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.records import TokenizedItem


@dataclass(slots=True)
class _QueuedItem:
    """An item in the queue. Times are in seconds of the caller's clock."""

    item: TokenizedItem
    weight: int
    #: When the item was added.
    since_s: float
    #: When the item stops waiting for its batch to fill.
    due_s: float


class Batcher:
    """The queue of tokenized items before the model.

    A batch has at most `max_tokens` tokens and `max_records` items. A single item above the token budget is a batch of its own.

    A batch is due when the batch is full, or when the device is idle and the oldest item has waited for
    `max_batch_delay_s`. The first item after an idle period of `max_batch_delay_s` is due at once. The k-th item of the
    queue leaves within k batches.
    """

    def __init__(self, *, max_tokens: int, max_records: int, max_batch_delay_s: float, priority: Priority = Priority.LIVE) -> None:
        """Build batches of `priority` within these bounds."""
        #: The token budget of the next batches. It may change at any time.
        self.max_tokens = max_tokens
        self._max_records = max_records
        self._max_batch_delay_s = max_batch_delay_s
        self._priority = priority
        # Items in order of arrival.
        self._queue: deque[_QueuedItem] = deque()
        # The sum of their weights.
        self._num_tokens = 0
        # When the last item was added.
        self._last_s = -math.inf

    def __len__(self) -> int:
        """Return the number of items in the queue."""
        return len(self._queue)

    @property
    def num_tokens(self) -> int:
        """Tokens in the queue."""
        return self._num_tokens

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Append items to the queue."""
        delay_s = 0.0 if now_s - self._last_s > self._max_batch_delay_s else self._max_batch_delay_s
        for item in items:
            weight = item.weight
            self._queue.append(_QueuedItem(item, weight, now_s, now_s + delay_s))
            self._num_tokens += weight
            self._last_s = now_s

    def take(self, now_s: float, *, device_is_idle: bool) -> Batch | None:
        """Remove the next batch from the queue and return the batch; None if no batch is due."""
        if not self._queue or not (self._is_full() or (device_is_idle and self.due_in_s(now_s) == 0)):
            return None
        since_s = self._queue[0].since_s
        return Batch(tuple(self._select()), since_s, self._priority)

    def due_in_s(self, now_s: float) -> float | None:
        """Return the seconds until a batch is due for an idle device; 0 if now, None if the queue is empty."""
        if not self._queue:
            return None
        return 0.0 if self._is_full() else max(0.0, self._queue[0].due_s - now_s)

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Drop the items for which `is_stale` is true."""
        self._queue = deque(queued for queued in self._queue if not is_stale(queued.item))
        self._num_tokens = sum(queued.weight for queued in self._queue)

    def _is_full(self) -> bool:
        return self._num_tokens >= self.max_tokens or len(self._queue) >= self._max_records

    def _select(self) -> list[TokenizedItem]:
        """Remove the oldest item, and each of the next `max_records - 1` items that still fits; return these items."""
        selected: list[TokenizedItem] = []
        skipped: list[_QueuedItem] = []
        free_tokens = self.max_tokens
        for _ in range(min(self._max_records, len(self._queue))):
            if free_tokens <= 0:
                break
            queued = self._queue.popleft()
            if queued.weight <= free_tokens or not selected:
                selected.append(queued.item)
                free_tokens -= queued.weight
            else:
                skipped.append(queued)
        self._queue.extendleft(reversed(skipped))
        self._num_tokens -= self.max_tokens - free_tokens
        return selected
