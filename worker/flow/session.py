"""The session of one partition, from assignment to revocation.

A session opens at the offset that the delivery returns, and publishes finished records in order. If a send or commit
fails, or its result is unknown, the session ends. Its records in flight are dropped, and it opens again at the
committed offset after a growing delay. At-least-once and exactly-once differ only in the `Delivery`.
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

# The least time from publication to publication as a multiple of the time that a publication takes, and the bound in intervals.
_INTERVAL_PER_PUBLICATION, _MAX_STRETCH = 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before a session is opened again, in seconds: doubled after each failure, with jitter, up to `max_s`."""

    first_s: float = 0.1
    max_s: float = 10.0

    def delay_s(self, num_failures: int) -> float:
        """Return the delay after the n-th consecutive failure (n from 1), in seconds."""
        # The jitter spreads the retries of partitions that failed at the same time.
        jitter = random.uniform(0.5, 1)  # noqa: S311
        return min(self.max_s, self.first_s * 2.0 ** (min(num_failures, 32) - 1)) * jitter


class Restarts:
    """The delay before the consumer is replaced: none for the first restart, then growing while restarts are frequent."""

    def __init__(self, backoff: Backoff, *, calm_s: float = 60.0) -> None:
        """Reset the count of restarts after `calm_s` seconds without a restart."""
        self._backoff = backoff
        self._calm_s = calm_s
        # Restarts since the last reset.
        self._num_restarts = 0
        # When the last delay ended, in seconds of a monotonic clock.
        self._last_s = -float("inf")

    def delay_s(self, now_s: float) -> float:
        """Return the delay of a restart at `now_s`, in seconds."""
        self._num_restarts = self._num_restarts + 1 if now_s - self._last_s < self._calm_s else 0
        delay_s = self._backoff.delay_s(self._num_restarts) if self._num_restarts else 0.0
        self._last_s = now_s + delay_s
        return delay_s


@dataclass(frozen=True, slots=True)
class SessionEvents:
    """Callbacks of a session. The session calls them in the event loop; they return at once."""

    #: The session is open at this offset and tracks records.
    opened: Callable[[Partition, int], None]
    #: The session ended because of this exception. Records in flight were dropped.
    ended: Callable[[Partition, Exception], None]
    #: These outcomes are acknowledged. The second argument is the duration in seconds.
    published: Callable[[Sequence[Outcome], float], None]
    #: The broker never accepts a message of this outcome. Returns the outcome to publish instead.
    refused: Callable[[Outcome, RecordRefused], Outcome]
    #: Whether this outcome and all later ones must wait. `wake` calls the function again.
    holds: Callable[[Outcome], bool] = lambda _outcome: False
    #: Raises `FatalError` if these outcomes must not be published. The first ones may already be published.
    check: Callable[[Sequence[Outcome]], None] = lambda _outcomes: None
    #: Returns the outcomes of a publication with the messages that depend on earlier publications; None for no such messages.
    complete: Callable[[Sequence[Outcome]], list[Outcome]] | None = None


def stretch_interval_s(interval_s: float, seconds: float) -> float:
    """Return the time between the starts of two publications, of which the last took `seconds`.

    Publications take long when the machine or the brokers have no time left. Fewer of them then leave more time to the records:
    the interval is twice as long as a publication takes, but at most three times `interval_s`.
    """
    return max(interval_s, min(_INTERVAL_PER_PUBLICATION * seconds, _MAX_STRETCH * interval_s))


class Session:
    """The session of one assigned partition.

    `run` ends only by cancellation. While `is_ready`, records are tracked and finish in any order. Finished records are
    published in order, one prefix at a time.
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
        """Publish at most `max_publish_records` outcomes at a time.

        Publications start `publish_interval_s()` seconds apart, unless a publication is full or the session drains.
        """
        self.partition = partition
        self._source = source
        self._delivery = delivery
        self._events = events
        self._backoff = backoff
        self._max_publish_records = max_publish_records
        self._publish_interval_s = publish_interval_s
        # The ledger while the session is open, else None.
        self._ledger: Ledger | None = None
        # Set when the ledger may have changed: a record finished, was published or was dropped.
        self._changed = asyncio.Event()
        # Failures since the last publication.
        self._num_failures = 0
        #: Whether the session was never open, so that it has no record to drop.
        self.was_never_open = True
        # The number of calls of `wait_drained` in progress. Publications do not wait for the interval meanwhile.
        self._num_draining = 0

    @property
    def is_ready(self) -> bool:
        """Whether the session is open and tracks records."""
        return self._ledger is not None

    @property
    def weight(self) -> int:
        """Tokens in flight."""
        return self._ledger.weight if self._ledger else 0

    @property
    def is_drained(self) -> bool:
        """Whether all records are published, dropped or held until a record of another partition releases them."""
        return self._ledger is None or self._ledger.is_empty or self._ledger.is_held(self._events.holds)

    @property
    def outcomes(self) -> Iterator[Outcome | None]:
        """The outcome of each record in the ledger, in offset order; None for an unfinished record."""
        return self._ledger.outcomes() if self._ledger else iter(())

    def track(self, source: Record | UnreadableRange, weight: int) -> bool:
        """Track a record; return False if the session is not open or the record is a redelivery."""
        return self._ledger is not None and self._ledger.track(source, weight)

    def skip(self, gap: EmptyRange) -> None:
        """Track a range without records; the offset after the range is committed with the records before the range."""
        if self._ledger is not None and self._ledger.skip(gap):
            self._changed.set()

    def weigh(self, source: Record | UnreadableRange | EmptyRange, weight: int) -> None:
        """Replace the estimated weight of a record."""
        if self._ledger is not None:
            self._ledger.weigh(source, weight)

    def is_waiting_for(self, source: Record | UnreadableRange) -> bool:
        """Return whether this record object is tracked and unfinished."""
        return self._ledger is not None and self._ledger.is_waiting_for(source)

    def finish(self, outcome: Outcome) -> bool:
        """Set the outcome of a record; return False for a late result of a session that has ended, which is ignored."""
        is_accepted = self._ledger is not None and self._ledger.finish(outcome)
        if is_accepted:
            self._changed.set()
        return is_accepted

    def wake(self) -> None:
        """Check again which outcomes may be published, because held outcomes may have been released."""
        self._changed.set()

    async def run(self) -> None:
        """Open the session and publish; after a failure open it again with a delay. Ends by cancellation."""
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
        """Return when all records are published, held, or dropped because the session ended."""
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
        self._ledger, self.was_never_open = Ledger(start), False
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
            if self._events.complete is not None:
                outcomes = self._events.complete(outcomes)
            outcomes = await self._publish_all(outcomes)
            ledger.published(outcomes)
            self._num_failures = 0
            self._changed.set()
            self._events.published(outcomes, seconds := loop.time() - began_s)
            if interval_s := self._publish_interval_s():
                await self._wait_for_interval(ledger, began_s + stretch_interval_s(interval_s, seconds))

    async def _wait_for_interval(self, ledger: Ledger, until_s: float) -> None:
        """Wait until `until_s` of the loop's time, a full publication or a drain."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                while not self._num_draining and ledger.num_finished < self._max_publish_records:
                    self._changed.clear()
                    await self._changed.wait()

    async def _publish_all(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Publish a prefix; replace refused messages with dead letters.

        After a refusal the records before the refused record are published, then the refused record, then the records after it.
        Each record is thus sent a few times only, however many records of a prefix are refused.
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
                    raise PublishFailed(f"a dead letter cannot be written, so its partition stops: {refusal}") from refusal
                at = next(number for number, outcome in enumerate(part) if outcome.offset == refusal.offset)
                pieces = part[:at], [self._events.refused(part[at], refusal)], part[at + 1 :]
                due += [piece for piece in reversed(pieces) if piece]
            else:
                published += part
        return published
