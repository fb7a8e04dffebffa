"""Two lanes before one model: the live one leaves as if it were alone, and backfill takes what it leaves. Pure, as batching is.

What backfill costs the live lane is bounded by one number, the tokens up to which it may fill a forward pass: a live record waits
at most for one pass of that size that has begun, and shares a pass of that size. Backfill never waits in a full batch before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.batching import Batcher
from worker.records import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.options import Options
    from worker.records import TokenizedItem


class Lanes:
    """The waiting rooms of both; used as one `Batcher` is."""

    def __init__(
        self, live: Batcher, backfill: Batcher, *, is_backfill: Callable[[TokenizedItem], bool], max_tokens: int, max_records: int
    ) -> None:
        """Tell the lanes apart by `is_backfill`; with backfill in it, a pass has at most `max_tokens` and `max_records`.

        A batch of the live lane alone is bounded by its own room.
        """
        self._live = live
        self._backfill = backfill
        self._is_backfill = is_backfill
        self._max_tokens = max_tokens
        self._max_records = max_records

    def __len__(self) -> int:
        """Return how many items wait in both."""
        return len(self._live) + len(self._backfill)

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Put items at the end of their lines."""
        lanes: tuple[list[TokenizedItem], list[TokenizedItem]] = [], []
        for item in items:
            lanes[self._is_backfill(item)].append(item)
        self._live.add(lanes[False], now_s)
        self._backfill.add(lanes[True], now_s)

    def take(self, now_s: float, *, device_is_idle: bool) -> Batch | None:
        """Return the next batch if one is due, else None: a live one with company, or backfill where nobody live waits."""
        batch = self._live.take(now_s, device_is_idle=device_is_idle)
        if batch is not None:
            room, places = self._max_tokens - batch.num_tokens, self._max_records - len(batch.items)
            return Batch((*batch.items, *self._backfill.fill(max_tokens=room, max_records=places)), batch.since_s)
        # Nothing of backfill is made ready while the device works: a live record that comes meanwhile goes first.
        return self._backfill.take(now_s, device_is_idle=True) if device_is_idle and not len(self._live) else None

    def due_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds an idle device should take a batch: 0 for now, None while nobody waits."""
        return self._backfill.due_in_s(now_s) if not len(self._live) else self._live.due_in_s(now_s)

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> int:
        """Forget the items that nobody waits for any more and return how many they were."""
        return self._live.discard(is_stale) + self._backfill.discard(is_stale)


def lanes_of(options: Options) -> Lanes:
    """Return the lanes of a worker: without a backfill topic, everything is live."""
    live, backfill = (
        Batcher(
            max_tokens=max_tokens,
            max_records=options.batch_records,
            max_wait_s=options.max_wait_s,
            look_ahead=options.look_ahead_records,
        )
        for max_tokens in (options.batch_tokens, options.backfill_batch_tokens)
    )
    return Lanes(
        live,
        backfill,
        is_backfill=lambda tokenized: tokenized.item.record.partition.topic == options.backfill_topic,
        max_tokens=options.backfill_batch_tokens,
        max_records=options.batch_records,
    )
