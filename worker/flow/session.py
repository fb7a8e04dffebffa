"""The unit of correctness: one partition, from its assignment to its revocation.

A session is opened (the delivery makes ready and says from which offset to read), works, and ends at any doubt: a send that
failed, an answer that did not come. What it had in flight is then dropped, and it is opened again, after a pause that grows,
from the committed offset. At-least-once and exactly-once differ in the `Delivery` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.errors import PublishFailed, RecordRefused
from worker.flow.ledger import Ledger
from worker.records import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from worker.ports import Delivery, Source
    from worker.records import EmptyRange, Outcome, Partition, Record, UnreadableRange


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to pause before a session is opened again: doubling, with jitter, from the first to the longest, in seconds."""

    first_s: float = 0.1
    max_s: float = 10.0

    def delay_s(self, num_failures: int) -> float:
        """Return the pause after the n-th failure in a row (n from 1), in seconds."""
        # A random half keeps partitions that failed together from coming back together.
        jitter = random.uniform(0.5, 1)  # noqa: S311
        return min(self.max_s, self.first_s * 2.0 ** (min(num_failures, 32) - 1)) * jitter


class Restarts:
    """How long to pause before the consumer is built anew: not at all the first time, longer each time that follows soon."""

    def __init__(self, backoff: Backoff, *, calm_s: float = 60.0) -> None:
        """Begin anew after a calm of `calm_s`: a restart that has held so long was good."""
        self._backoff = backoff
        self._calm_s = calm_s
        # Restarts since the last calm.
        self._num_restarts = 0
        # When the last restart ended its pause, in seconds of a monotonic clock.
        self._last_s = -float("inf")

    def delay_s(self, now_s: float) -> float:
        """Return the pause before the restart that is due at `now_s`."""
        self._num_restarts = self._num_restarts + 1 if now_s - self._last_s < self._calm_s else 0
        pause_s = self._backoff.delay_s(self._num_restarts) if self._num_restarts else 0.0
        self._last_s = now_s + pause_s
        return pause_s


@dataclass(frozen=True, slots=True)
class SessionEvents:
    """Whom a session tells what; all are called from the event loop and return at once."""

    #: It stands at this offset and takes records.
    opened: Callable[[Partition, int], None]
    #: It ended with work in flight dropped, for this reason.
    ended: Callable[[Partition, Exception], None]
    #: These outcomes are acknowledged; publishing took so many seconds.
    published: Callable[[Sequence[Outcome], float], None]
    #: A message was refused for good: returns what to publish in its place.
    refused: Callable[[Outcome, RecordRefused], Outcome]
    #: Whether an outcome, and all behind it, may not be published yet; `wake` says that the answer may have changed.
    holds: Callable[[Outcome], bool] = lambda _outcome: False
    #: Raises `Stop` where these outcomes may not be published; those that are published already come first.
    check: Callable[[Sequence[Outcome]], None] = lambda _outcomes: None


class Session:
    """One partition of ours.

    `run` is its life and ends only by cancellation. While `is_ready`, records are tracked and their outcomes finished, in any
    order; what has finished is published in order, one prefix at a time.
    """

    def __init__(
        self,
        partition: Partition,
        *,
        source: Source,
        delivery: Delivery,
        events: SessionEvents,
        backoff: Backoff,
        max_publish_records: int,
        publish_interval_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Belong to `partition`; at most `max_publish_records` outcomes are in publication at a time.

        Publications begin `publish_interval_s()` apart, unless one would be full or the line is to be emptied.
        """
        self.partition = partition
        self._source = source
        self._delivery = delivery
        self._events = events
        self._backoff = backoff
        self._max_publish_records = max_publish_records
        self._publish_interval_s = publish_interval_s
        # The line of the session that is open; None while none is.
        self._ledger: Ledger | None = None
        # Set whenever the line may have changed: something finished, was published or was dropped.
        self._changed = asyncio.Event()
        # Failures since the last prefix that was published.
        self._num_failures = 0
        # Whether it has not been open yet, so that it has had nothing to drop.
        self.is_new = True
        # How many wait for the line to be empty: nothing is held back for the interval then.
        self._num_draining = 0

    @property
    def is_ready(self) -> bool:
        """Whether it takes records."""
        return self._ledger is not None

    @property
    def weight(self) -> int:
        """Tokens in flight."""
        return self._ledger.weight if self._ledger else 0

    @property
    def is_drained(self) -> bool:
        """Whether everything in line is published, dropped, or held back for good while nothing else comes."""
        return self._ledger is None or self._ledger.is_empty or self._ledger.is_held(self._events.holds)

    @property
    def outcomes(self) -> Iterator[Outcome | None]:
        """The outcome of each record in line, in offset order; None for a record that is unfinished."""
        return self._ledger.outcomes() if self._ledger else iter(())

    def track(self, source: Record | UnreadableRange, weight: int) -> bool:
        """Put what has arrived in line; return False where it is not wanted: not ready, or a redelivery."""
        return self._ledger is not None and self._ledger.track(source, weight)

    def skip(self, gap: EmptyRange) -> None:
        """Put a range without records in line; the offset after it is committed with the records before it."""
        if self._ledger is not None and self._ledger.skip(gap):
            self._changed.set()

    def weigh(self, source: Record | UnreadableRange | EmptyRange, weight: int) -> None:
        """Correct the weight of what is in line."""
        if self._ledger is not None:
            self._ledger.weigh(source, weight)

    def is_waiting_for(self, source: Record | UnreadableRange) -> bool:
        """Tell whether a result for this very record is still wanted."""
        return self._ledger is not None and self._ledger.is_waiting_for(source)

    def finish(self, outcome: Outcome) -> bool:
        """Note the fate of a record; return False for a late result of a session that has ended, which is ignored."""
        is_wanted = self._ledger is not None and self._ledger.finish(outcome)
        if is_wanted:
            self._changed.set()
        return is_wanted

    def wake(self) -> None:
        """Look anew whether something may be published: it may be held no longer."""
        self._changed.set()

    async def run(self) -> None:
        """Open, work, end at any doubt, pause, and open again, until cancelled."""
        while True:
            try:
                await self._open()
                await self._publish()
            except PublishFailed as failure:
                self._num_failures += 1
                self._events.ended(self.partition, failure)
            finally:
                self._ledger = None
                self._changed.set()
                self._source.pause(self.partition)
                await self._delivery.forget(self.partition)
            await asyncio.sleep(self._backoff.delay_s(self._num_failures))

    async def wait_drained(self) -> None:
        """Return once everything in line is published, dropped because the session ended, or held."""
        self._num_draining += 1
        self._changed.set()
        try:
            while not self.is_drained:
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._num_draining -= 1

    async def _open(self) -> None:
        start = await self._delivery.open(self.partition)
        self._source.seek(self.partition, start)
        self._ledger, self.is_new = Ledger(start), False
        self._events.opened(self.partition, start)

    async def _publish(self) -> None:
        loop = asyncio.get_running_loop()
        while (ledger := self._ledger) is not None:
            outcomes = ledger.take(self._max_publish_records, holds=self._events.holds)
            if not outcomes:
                self._changed.clear()
                await self._changed.wait()
                continue
            began_s = loop.time()
            outcomes = await self._publish_all(outcomes)
            ledger.published(outcomes)
            self._num_failures = 0
            self._changed.set()
            self._events.published(outcomes, loop.time() - began_s)
            if interval_s := self._publish_interval_s():
                await self._interval(ledger, began_s + interval_s)

    async def _interval(self, ledger: Ledger, until_s: float) -> None:
        """Let outcomes gather until a moment of the loop's time, or until there is a reason to publish at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                while not self._num_draining and ledger.num_finished < self._max_publish_records:
                    self._changed.clear()
                    await self._changed.wait()

    async def _publish_all(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Publish a prefix; a message that is refused for good is replaced by its dead letter.

        What stands before the refused record is published first, then the record by itself, then what stands after it: however
        many records of a prefix are refused, each is sent a few times only.
        """
        published: list[Outcome] = []
        due = [outcomes]
        while due:
            part = due.pop()
            self._events.check([*published, *part])
            try:
                await self._delivery.publish(self.partition, part)
            except RecordRefused as refusal:
                if refusal.output is Output.DEAD_LETTERS:
                    raise PublishFailed(f"a dead letter cannot be written, and nothing may pass it: {refusal}") from refusal
                at = next(number for number, outcome in enumerate(part) if outcome.offset == refusal.offset)
                pieces = part[:at], [self._events.refused(part[at], refusal)], part[at + 1 :]
                due += [piece for piece in reversed(pieces) if piece]
            else:
                published += part
        return published
