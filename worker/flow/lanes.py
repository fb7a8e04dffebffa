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

from worker.flow.batching import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from worker.flow.options import Options
    from worker.records import Batch, TokenizedItem

# No step waits longer: a full live load leaves backfill a little, and who waits for its passes to end comes to their turn.
_MAX_YIELD_S = 1.0
# Batches that are ready, so that a pass which ends is followed by the next at once.
_NUM_READY = 2
# A batch of fewer tokens begins beside no other: it would cost more than it gains.
_MIN_TOKENS_FOR_CONCURRENT_BATCH = 128
# While the model works, what comes gathers for this part of what a batch takes, and no longer than so many seconds.
_GATHER_FRACTION = 0.1
_MAX_GATHER_S = 0.1


class Lane:
    """A waiting room, and places on the device for a few of its batches."""

    def __init__(self, batcher: Batcher, *, max_tokens: int, num_passes: int, after: Lane | None = None) -> None:
        """Let `num_passes` batches of at most `max_tokens` be on the device at a time, and two more be ready.

        That keeps the device busy, also where two end while what the first brought is encoded; a longer queue would only add
        latency. With `after`, its passes give way to that lane.
        """
        #: What a batch may hold, in tokens.
        self.max_tokens = max_tokens
        #: Waits, in the thread of a pass, for as long as the pass must not go on; None where it never has to wait.
        self.give_way = None if after is None else after.wait_until_idle
        self._batcher = batcher
        self._num_passes = num_passes
        self._slots = asyncio.Semaphore(num_passes + _NUM_READY)
        # Batches on the device or ready for it, and how long the last one was.
        self._num_batches = 0
        self._batch_s = 0.0
        # Set while there are none.
        self._has_no_batch = asyncio.Event()
        self._has_no_batch.set()
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
        await self._slots.acquire()
        while True:
            could_begin = self._could_begin
            self._may_be_due.clear()
            batch = self._batcher.take(time.monotonic(), device_is_idle=could_begin)
            if batch is not None:
                self._num_batches += 1
                self._has_no_batch.clear()
                return batch
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._batcher.due_in_s(time.monotonic()) if could_begin else None):
                    await self._may_be_due.wait()

    @property
    def _could_begin(self) -> bool:
        """Whether a pass could begin at once with what waits, and be worth it."""
        is_worth_it = self._num_batches == 0 or self._batcher.num_tokens >= _MIN_TOKENS_FOR_CONCURRENT_BATCH
        return self._num_batches < self._num_passes and is_worth_it

    def leave(self, took_s: float) -> None:
        """Give the place of a batch, which took so many seconds, to the next."""
        self._num_batches -= 1
        self._batch_s = took_s
        if self._num_batches == 0:
            self._has_no_batch.set()
        self._slots.release()
        self._changed()

    async def gather(self) -> None:
        """Wait, while batches are on the device, for a small part of what one takes.

        Records that are read meanwhile would only wait here, and to read them one by one costs the reader and the brokers more.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_MAX_GATHER_S, self._batch_s * _GATHER_FRACTION)):
                await self._has_no_batch.wait()

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Forget the items that nobody waits for any more."""
        self._batcher.discard(is_stale)
        self._changed()

    def release_waiters(self) -> None:
        """Hold nobody up any more, whatever waits here."""
        self._is_idle.set()

    def wait_until_idle(self) -> None:
        """Block until nothing of this lane waits or is on the device, or for a second."""
        self._is_idle.wait(_MAX_YIELD_S)

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

    async def gather(self) -> None:
        """Wait until what comes may be read."""
        live, _ = self._lanes
        await live.gather()

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Forget the items that nobody waits for any more."""
        for lane in self._lanes:
            lane.discard(is_stale)

    def stop(self) -> None:
        """Let every pass that waits go on, to its end."""
        for lane in self._lanes:
            lane.release_waiters()


def build_lanes(options: Options, *, max_passes: int) -> Lanes:
    """Return the lanes of a worker: without a backfill topic, everything is live.

    Of backfill one batch is on the device at a time.
    """

    def lane(max_tokens: int, num_passes: int, after: Lane | None = None) -> Lane:
        batcher = Batcher(
            max_tokens=max_tokens,
            max_records=options.max_batch_records,
            max_batch_delay_s=options.max_batch_delay_s,
            look_ahead=options.look_ahead_records,
        )
        return Lane(batcher, max_tokens=max_tokens, num_passes=num_passes, after=after)

    live = lane(options.max_batch_tokens, max_passes)
    backfill = lane(options.max_backfill_batch_tokens, 1, after=live)
    return Lanes(live, backfill, is_backfill=lambda it: it.item.record.partition.topic == options.backfill_topic)
