"""Two lanes before one model: the live one is served as if it were alone, and backfill gets what is left of the model's time.

Each lane has a waiting room and places on the device. Backfill's passes run beside the live ones in a thread of their own, and give
way: before each of their steps, a layer where the backend can stop there, else a pass, they wait until nothing live waits or is on
the device. So no live record waits for a pass of backfill, however long that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

from worker.batching import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from worker.options import Options
    from worker.records import Batch, TokenizedItem

# No step waits longer: a full live load leaves backfill a little, and who waits for its passes to end comes to their turn.
_LONGEST_HOLD_S = 1.0


class Lane:
    """A waiting room, and places on the device for a few of its batches."""

    def __init__(self, batcher: Batcher, *, max_tokens: int, num_places: int, after: Lane | None = None) -> None:
        """Let `num_places` batches of at most `max_tokens` be on the device or ready for it.

        With `after`, their passes give way to that lane.
        """
        #: What a batch may hold, in tokens.
        self.max_tokens = max_tokens
        #: Waits, in the thread of a pass, for as long as the pass must not go on; None where it never has to wait.
        self.give_way = None if after is None else after.await_idle
        self._batcher = batcher
        self._places = asyncio.Semaphore(num_places)
        # Batches on the device or ready for it.
        self._num_batches = 0
        # Set whenever a batch may have become due: items came, or a batch left the device.
        self._may_be_due = asyncio.Event()
        # Set while nothing of this lane waits or is on the device.
        self._is_idle = threading.Event()
        self._is_idle.set()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._batcher)

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Put items at the end of the line."""
        self._batcher.add(items, now_s)
        self._changed()

    async def next_batch(self) -> Batch:
        """Return the next batch, once it is due and there is a place for it; the place is its own until `leave`."""
        await self._places.acquire()
        while True:
            device_is_idle = self._num_batches == 0
            self._may_be_due.clear()
            batch = self._batcher.take(time.monotonic(), device_is_idle=device_is_idle)
            if batch is not None:
                self._num_batches += 1
                return batch
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._batcher.due_in_s(time.monotonic()) if device_is_idle else None):
                    await self._may_be_due.wait()

    def leave(self) -> None:
        """Give a batch's place to the next."""
        self._num_batches -= 1
        self._places.release()
        self._changed()

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Forget the items that nobody waits for any more."""
        self._batcher.discard(is_stale)
        self._changed()

    def let_others_go(self) -> None:
        """Hold nobody up any more, whatever waits here."""
        self._is_idle.set()

    def await_idle(self) -> None:
        """Block until nothing of this lane waits or is on the device, or for a second."""
        self._is_idle.wait(_LONGEST_HOLD_S)

    def _changed(self) -> None:
        self._may_be_due.set()
        if self._num_batches or len(self._batcher):
            self._is_idle.clear()
        else:
            self._is_idle.set()


class Lanes:
    """The lanes of a worker, the live one first."""

    def __init__(self, live: Lane, backfill: Lane, *, is_backfill: Callable[[TokenizedItem], bool]) -> None:
        """Tell their items apart by `is_backfill`."""
        self._lanes = (live, backfill)
        self._is_backfill = is_backfill

    def __iter__(self) -> Iterator[Lane]:
        """Return one after the other."""
        return iter(self._lanes)

    def __len__(self) -> int:
        """Return how many items wait in all."""
        return sum(map(len, self._lanes))

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Put each item at the end of its line."""
        own: tuple[list[TokenizedItem], list[TokenizedItem]] = [], []
        for item in items:
            own[self._is_backfill(item)].append(item)
        for lane, its in zip(self._lanes, own, strict=True):
            lane.add(its, now_s)

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Forget the items that nobody waits for any more."""
        for lane in self._lanes:
            lane.discard(is_stale)

    def stop(self) -> None:
        """Let every pass that waits go on, to its end."""
        for lane in self._lanes:
            lane.let_others_go()


def lanes_of(options: Options, *, max_passes: int) -> Lanes:
    """Return the lanes of a worker: without a backfill topic, everything is live.

    As many live batches are on the device as can run there at a time, and one of backfill. Of each lane one more is ready, no
    more: a longer queue would only add latency.
    """

    def lane(max_tokens: int, num_passes: int, after: Lane | None = None) -> Lane:
        batcher = Batcher(
            max_tokens=max_tokens,
            max_records=options.batch_records,
            max_wait_s=options.max_wait_s,
            look_ahead=options.look_ahead_records,
        )
        return Lane(batcher, max_tokens=max_tokens, num_places=num_passes + 1, after=after)

    live = lane(options.batch_tokens, max_passes)
    backfill = lane(options.backfill_batch_tokens, 1, after=live)
    return Lanes(live, backfill, is_backfill=lambda it: it.item.record.partition.topic == options.backfill_topic)
