"""The lanes of live records and of backfill, which share one model; with several encoders, each has lanes of its own.

Each lane has a queue and slots for its batches. One backfill batch runs at a time, in a thread of its own. Before each
step (a layer if the backend can pause there, else the whole pass), the backfill batch waits until no live batch is
queued or running. Live records therefore never wait for a backfill batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from itertools import chain
from typing import TYPE_CHECKING

from worker.batches import Priority
from worker.flow.batch_budget import BatchBudget
from worker.flow.batching import Batcher
from worker.parts import Part, split_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from worker.batches import Batch
    from worker.flow.options import Options
    from worker.records import TokenizedItem

# Upper bound of one pause of a backfill pass. Without a bound, constant live load would starve backfill, and shutdown would hang.
_MAX_YIELD_S = 1.0
# Batches that are ready while others run, so that the device has no gap between two passes.
_NUM_READY = 2
# A batch starts next to a running batch only if the batch has this many tokens: a smaller one costs more than it gains.
_MIN_TOKENS_FOR_CONCURRENT_BATCH = 128
# While the model is busy, polling pauses for this fraction of the duration of the last batch.
_GATHER_FRACTION = 0.3
# Upper bound of such a pause.
_MAX_GATHER_S = 0.1


class Lane:
    """A queue of items, and slots for the batches that are ready or running."""

    def __init__(self, batcher: Batcher, *, num_passes: int) -> None:
        """Let `num_passes` batches run at a time, and two more be ready.

        More batches in the queue of the device would add latency and no throughput.
        """
        self._batcher = batcher
        self._num_passes = num_passes
        self._slots = asyncio.Semaphore(num_passes + _NUM_READY)
        # Batches that are ready or running.
        self._num_batches = 0
        # Duration of the last batch.
        self._batch_s = 0.0
        # Set while no batch is ready or running.
        self._has_no_batch = asyncio.Event()
        self._has_no_batch.set()
        # Set when a batch may have become due: items were added, or a slot was released.
        self._may_be_due = asyncio.Event()
        # Set while the queue is empty and no batch is ready or running.
        self._is_idle = threading.Event()
        self._is_idle.set()

    def __len__(self) -> int:
        """Return the number of items in the queue."""
        return len(self._batcher)

    @property
    def max_tokens(self) -> int:
        """The token budget of a batch."""
        return self._batcher.max_tokens

    def set_max_tokens(self, max_tokens: int) -> None:
        """Replace the token budget of the next batches."""
        self._batcher.max_tokens = max_tokens

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Append items to the queue."""
        self._batcher.add(items, now_s)
        self._note_change()

    async def next_batch(self, max_records: int | None = None) -> Batch:
        """Return the next due batch, which holds a slot until `release_slot`; `max_records` bounds this batch and later ones."""
        await self._slots.acquire()
        if max_records is not None:
            self._batcher.limit_records(max_records)
        while True:
            can_start = self._can_start
            self._may_be_due.clear()
            batch = self._batcher.take(time.monotonic(), device_is_idle=can_start)
            if batch is not None:
                self._num_batches += 1
                self._has_no_batch.clear()
                return batch
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._batcher.due_in_s(time.monotonic()) if can_start else None):
                    await self._may_be_due.wait()

    @property
    def _can_start(self) -> bool:
        """Whether a batch of the queued items could run at once and would gain throughput."""
        is_worthwhile = self._num_batches == 0 or self._batcher.num_tokens >= _MIN_TOKENS_FOR_CONCURRENT_BATCH
        return self._num_batches < self._num_passes and is_worthwhile

    def release_slot(self, batch_s: float) -> None:
        """Release the slot of a batch that took `batch_s` seconds."""
        self._num_batches -= 1
        self._batch_s = batch_s
        if self._num_batches == 0:
            self._has_no_batch.set()
        self._slots.release()
        self._note_change()

    async def wait_for_more(self) -> None:
        """While batches run, wait for a fraction of the duration of a batch.

        Records that are polled meanwhile would only wait in the queue, and small polls cost the worker and the brokers more.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_MAX_GATHER_S, self._batch_s * _GATHER_FRACTION)):
                await self._has_no_batch.wait()

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Drop the queued items for which `is_stale` is true."""
        self._batcher.discard(is_stale)
        self._note_change()

    def release_waiters(self) -> None:
        """End every `wait_until_idle`, even if the lane is not idle."""
        self._is_idle.set()

    def wait_until_idle(self) -> None:
        """Block until no item is queued and no batch is ready or running, but at most for one second."""
        self._is_idle.wait(_MAX_YIELD_S)

    def _note_change(self) -> None:
        self._may_be_due.set()
        is_idle = not self._num_batches and not self._batcher
        # A change of the event takes its lock.
        if is_idle != self._is_idle.is_set():
            self._is_idle.set() if is_idle else self._is_idle.clear()


class Lanes:
    """The live lane and the backfill lane of a worker, in this order."""

    def __init__(
        self, live: Lane, backfill: Lane, budget: BatchBudget, *, backfill_topic: str | None, max_backfill_tokens: int
    ) -> None:
        """Use the backfill lane for the items of `backfill_topic`, and `budget` for both lanes, up to `max_backfill_tokens`."""
        self._live, self._backfill = live, backfill
        self._lanes = (live, backfill)
        self._budget = budget
        self._backfill_topic = backfill_topic
        self._max_backfill_tokens = max_backfill_tokens
        self._apply_budget()

    def __iter__(self) -> Iterator[Lane]:
        """Iterate over the lanes."""
        return iter(self._lanes)

    def __len__(self) -> int:
        """Return the number of queued items in both lanes."""
        return sum(map(len, self._lanes))

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Append each item to the queue of its lane."""
        items_by_lane: tuple[list[TokenizedItem], list[TokenizedItem]] = [], []
        for item in items:
            items_by_lane[item.item.record.partition.topic == self._backfill_topic].append(item)
        for lane, lane_items in zip(self._lanes, items_by_lane, strict=True):
            if lane_items:
                lane.add(lane_items, now_s)

    @property
    def live(self) -> Lane:
        """The lane of live records."""
        return self._live

    async def wait_for_more(self) -> None:
        """Wait until the next poll is worthwhile for the live lane."""
        await self._live.wait_for_more()

    def note_pass(self, batch: Batch, seconds: float) -> None:
        """Adapt the token budgets to a finished pass, which takes `seconds` alone. Backfill passes pause and are ignored."""
        if batch.priority is Priority.LIVE:
            self._budget.note_pass(batch.num_tokens, seconds)
            self._apply_budget()

    def _apply_budget(self) -> None:
        self._live.set_max_tokens(self._budget.max_tokens)
        self._backfill.set_max_tokens(min(self._budget.max_tokens, self._max_backfill_tokens))

    def yield_to_live(self) -> None:
        """Block the thread of a backfill pass until the live lane is idle, but at most for one second."""
        self._live.wait_until_idle()

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Drop the queued items for which `is_stale` is true."""
        for lane in self._lanes:
            lane.discard(is_stale)

    def stop(self) -> None:
        """Let backfill passes run to their end without further pauses."""
        self._live.release_waiters()


class JointLanes:
    """The lanes of several encoders. A record is queued at each of its encoders."""

    def __init__(self, lanes: Sequence[Lanes]) -> None:
        """Use these lanes, in the order of the encoders; the last ones also serve the further encoders of a rollout."""
        self._lanes = lanes

    def __iter__(self) -> Iterator[Lane]:
        """Iterate over the lanes of all encoders."""
        return chain.from_iterable(self._lanes)

    def __len__(self) -> int:
        """Return the number of queued items of all encoders."""
        return sum(map(len, self._lanes))

    def add(self, items: Iterable[TokenizedItem], now_s: float) -> None:
        """Append the parts of each item to the queues of their encoders."""
        parts: list[list[TokenizedItem]] = [[] for _ in self._lanes]
        for part in chain.from_iterable(map(split_item, items)):
            parts[self._find(part)].append(part)
        for lanes, own in zip(self._lanes, parts, strict=True):
            lanes.add(own, now_s)

    def _find(self, item: TokenizedItem) -> int:
        return min(item.encoder, len(self._lanes) - 1) if isinstance(item, Part) else 0

    @property
    def live(self) -> Lane:
        """The live lane of the first encoder. Its token budget bounds the texts of clients in all lanes."""
        return self._lanes[0].live

    async def wait_for_more(self) -> None:
        """Wait until the next poll is worthwhile: the batches of the encoders run one after the other."""
        for lanes in self._lanes:
            await lanes.wait_for_more()

    def note_pass(self, batch: Batch, seconds: float) -> None:
        """Adapt the token budget of the batch's encoder to a finished pass."""
        self._lanes[self._find(batch.items[0])].note_pass(batch, seconds)

    def yield_to_live(self) -> None:
        """Block the thread of a backfill pass until all live lanes are idle, but at most for one second for each encoder."""
        for lanes in self._lanes:
            lanes.yield_to_live()

    def discard(self, is_stale: Callable[[TokenizedItem], bool]) -> None:
        """Drop the queued items for which `is_stale` is true."""
        for lanes in self._lanes:
            lanes.discard(is_stale)

    def stop(self) -> None:
        """Let backfill passes run to their end without further pauses."""
        for lanes in self._lanes:
            lanes.stop()


def build_lanes(options: Options, *, max_passes: int, num_encoders: int = 0) -> Lanes | JointLanes:
    """Return the lanes of a worker. Without a backfill topic every item is live.

    At most `max_passes` live batches and one backfill batch run at a time, of all encoders together. `num_encoders` is that of
    `ModelRouter`.
    """
    if num_encoders:
        return JointLanes([_build_lanes(options, max_passes, num_sharing=num_encoders) for _ in range(num_encoders)])
    return _build_lanes(options, max_passes, num_sharing=1)


def _build_lanes(options: Options, max_passes: int, *, num_sharing: int) -> Lanes:
    """Return the lanes of one of `num_sharing` encoders, which share the tokens in flight."""
    budget = BatchBudget(
        fixed_tokens=options.max_batch_tokens,
        max_pass_s=options.max_batch_s,
        max_in_flight_tokens=options.max_in_flight_tokens // num_sharing,
    )

    def build_lane(priority: Priority, num_passes: int) -> Lane:
        batcher = Batcher(
            max_tokens=budget.max_tokens,
            max_records=options.max_batch_records,
            max_batch_delay_s=options.max_batch_delay_s,
            priority=priority,
        )
        return Lane(batcher, num_passes=num_passes)

    return Lanes(
        build_lane(Priority.LIVE, max_passes),
        build_lane(Priority.BACKFILL, 1),
        budget,
        backfill_topic=options.backfill_topic,
        max_backfill_tokens=options.max_backfill_batch_tokens,
    )
