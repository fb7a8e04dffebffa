"""Selects the items of the next batch. Pure: time is an argument.

Texts are packed without padding, so the cost of a batch is the sum of its tokens. The batcher fills the token budget by
first fit in order of arrival: every batch contains the oldest item. An item that does not fit stays at the head of its
queue and is in the next batch.

The items of a partition with few items in the queue overtake the backlogs of other partitions, because a takeover must not
delay the partitions that stay. The items of a backlog stay together: they share a message batch.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from worker.batches import Batch, Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.records import Partition, TokenizedItem

# A partition with more items than this in the queue has a backlog.
_MAX_ITEMS_WITHOUT_BACKLOG = 8
_GET_PARTITION = attrgetter("item.record.partition")


@dataclass(slots=True)
class _Share:
    """The items of one partition in the queue."""

    num_items: int = 0
    #: Whether new items go to the backlog, until the partition has no more items in the queue.
    has_backlog: bool = False


@dataclass(slots=True)
class _QueuedItem:
    """An item in the queue. Times are in seconds of the caller's clock."""

    item: TokenizedItem
    #: The items are numbered in order of arrival.
    number: int
    share: _Share
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

    A partition with at most eight items in the queue has no backlog. Its items overtake older items of backlogs, and fill at
    most half of a batch while older items wait.
    """

    def __init__(self, *, max_tokens: int, max_records: int, max_batch_delay_s: float, priority: Priority = Priority.LIVE) -> None:
        """Build batches of `priority` within these bounds."""
        #: The token budget of the next batches. It may change at any time.
        self.max_tokens = max_tokens
        # The maximum number of items of the next batches, and of all batches.
        self._max_records = self._most_records = max_records
        self._max_batch_delay_s = max_batch_delay_s
        self._priority = priority
        # The items of partitions without and with a backlog, in order of arrival.
        self._fresh: deque[_QueuedItem] = deque()
        self._backlog: deque[_QueuedItem] = deque()
        self._shares: defaultdict[Partition, _Share] = defaultdict(_Share)
        self._num_added = 0
        # The sum of the weights of all items.
        self._num_tokens = 0
        # When the last item was added.
        self._last_s = -math.inf

    def __len__(self) -> int:
        """Return the number of items in the queue."""
        return len(self._fresh) + len(self._backlog)

    @property
    def num_tokens(self) -> int:
        """Tokens in the queue."""
        return self._num_tokens

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Append items to the queue."""
        delay_s = 0.0 if now_s - self._last_s > self._max_batch_delay_s else self._max_batch_delay_s
        for partition, run in groupby(items, key=_GET_PARTITION):
            share = self._shares[partition]
            own = list(run)
            share.num_items += len(own)
            if share.num_items > _MAX_ITEMS_WITHOUT_BACKLOG:
                share.has_backlog = True
            queue = self._backlog if share.has_backlog else self._fresh
            for item in own:
                weight = item.weight
                queue.append(_QueuedItem(item, self._num_added, share, weight, now_s, now_s + delay_s))
                self._num_added += 1
                self._num_tokens += weight
            self._last_s = now_s

    def take(self, now_s: float, *, device_is_idle: bool) -> Batch | None:
        """Remove the next batch from the queue and return the batch; None if no batch is due."""
        if not self or not (self._is_full() or (device_is_idle and self.due_in_s(now_s) == 0)):
            return None
        since_s = self._find_oldest().since_s
        return Batch(tuple(self._select()), since_s, self._priority)

    def due_in_s(self, now_s: float) -> float | None:
        """Return the seconds until a batch is due for an idle device; 0 if now, None if the queue is empty."""
        if not self:
            return None
        return 0.0 if self._is_full() else max(0.0, self._find_oldest().due_s - now_s)

    def limit_records(self, max_records: int) -> None:
        """Bound the items of the next batches by `max_records`, in addition to the bound of all batches."""
        self._max_records = min(max_records, self._most_records)

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Drop the items for which `is_stale` is true."""
        for queue in (self._fresh, self._backlog):
            for _ in range(len(queue)):
                queued = queue.popleft()
                if is_stale(queued.item):
                    self._note_gone(queued)
                else:
                    queue.append(queued)

    def _is_full(self) -> bool:
        return self._num_tokens >= self.max_tokens or len(self) >= self._max_records

    def _find_oldest(self) -> _QueuedItem:
        fresh, backlog = self._fresh, self._backlog
        return fresh[0] if fresh and not (backlog and backlog[0].number < fresh[0].number) else backlog[0]

    def _select(self) -> list[TokenizedItem]:
        """Remove the oldest item, and each of the next items that still fits; return these items."""
        selected: list[TokenizedItem] = []
        if not self._backlog:
            self._move(self._fresh, selected, self.max_tokens, self._max_records)
            return selected
        older = self._backlog[0].number
        free_tokens = self._move(self._fresh, selected, self.max_tokens, self._max_records, before=older)
        free_tokens = self._move(self._backlog, selected, free_tokens, 1)
        share = min(free_tokens, self.max_tokens // 2)
        free_tokens += self._move(self._fresh, selected, share, self._max_records // 2) - share
        newer = self._fresh[0].number if self._fresh else math.inf
        free_tokens = self._move(self._backlog, selected, free_tokens, self._max_records, before=newer)
        free_tokens = self._move(self._fresh, selected, free_tokens, self._max_records)
        self._move(self._backlog, selected, free_tokens, self._max_records)
        return selected

    def _move(
        self,
        queue: deque[_QueuedItem],
        selected: list[TokenizedItem],
        free_tokens: int,
        max_items: int,
        *,
        before: float = math.inf,
    ) -> int:
        """Move each of the next `max_items` items of a queue that fits to `selected`; return the tokens that remain free.

        The first item of a batch always fits. Items from the number `before` on stay.
        """
        skipped: list[_QueuedItem] = []
        for _ in range(min(max_items, self._max_records - len(selected), len(queue))):
            if free_tokens <= 0 or queue[0].number >= before:
                break
            queued = queue.popleft()
            if queued.weight <= free_tokens or not selected:
                selected.append(queued.item)
                free_tokens -= queued.weight
                self._note_gone(queued)
            else:
                skipped.append(queued)
        queue.extendleft(reversed(skipped))
        return free_tokens

    def _note_gone(self, queued: _QueuedItem) -> None:
        self._num_tokens -= queued.weight
        share = queued.share
        share.num_items -= 1
        if not share.num_items:
            share.has_backlog = False
