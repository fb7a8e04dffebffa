"""The partitions that are ours: given, worked on, drained and handed back.

The group gives partitions and takes them away; each has a session while it is ours. Taking leave is bounded: what is in flight
gets `drain_timeout_s` to be published and is committed; what is not ready by then is dropped, and the next owner does it again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.errors import PublishFailed
from worker.flow.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator

    from worker.flow.options import Options
    from worker.flow.session import SessionEvents
    from worker.observability.metrics import Telemetry
    from worker.ports import Delivery, Source
    from worker.records import Outcome, Partition

    Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]


# So many partitions publish at the pace that was asked for. With more, each waits longer: a transaction costs the same however
# little is in it, and 32 partitions at the pace of 8 would spend half of the worker on them.
_PARTITIONS_AT_FULL_PACE = 8


class Assignment:
    """Every session of the worker, by partition; the listener whom the source tells what is ours.

    `spawn` starts a task whose death ends the worker: Kafka's client would only log what its callbacks raise.
    """

    def __init__(
        self,
        *,
        spawn: Spawn,
        source: Source,
        delivery: Delivery,
        telemetry: Telemetry,
        events: SessionEvents,
        options: Options,
    ) -> None:
        """Own nothing yet."""
        self._spawn = spawn
        self._source = source
        self._delivery = delivery
        self._telemetry = telemetry
        self._events = events
        self._options = options
        # The sessions of the partitions that are ours, each with its life.
        self._sessions: dict[Partition, tuple[Session, asyncio.Task[None]]] = {}
        # Partitions that are being handed back: they get no more records.
        self._leaving: set[Partition] = set()
        # Whether the group has given us our share, be it empty.
        self.is_assigned = False
        # Whether we are leaving the group: what it still gives us opens no session, for nobody would end that.
        self._is_leaving_group = False

    @property
    def is_ready(self) -> bool:
        """Whether the group has given us our share and every partition of it takes records."""
        return self.is_assigned and all(session.is_ready for session, _ in self._sessions.values())

    @property
    def weight(self) -> int:
        """Tokens in flight over all partitions."""
        return sum(session.weight for session, _ in self._sessions.values())

    def get_weight(self, topic: str) -> int:
        """Tokens in flight of one topic."""
        return sum(session.weight for partition, (session, _) in self._sessions.items() if partition.topic == topic)

    @property
    def weights(self) -> dict[Partition, int]:
        """Tokens in flight, by partition."""
        return {partition: session.weight for partition, (session, _) in self._sessions.items()}

    @property
    def partitions(self) -> set[Partition]:
        """The partitions that are ours."""
        return set(self._sessions)

    def find_session(self, partition: Partition) -> Session | None:
        """Return the session of a partition that is ours and not being handed back."""
        return None if partition in self._leaving else self.find_owner(partition)

    def find_owner(self, partition: Partition) -> Session | None:
        """Return the session of a partition that is ours, also while it is being handed back."""
        found = self._sessions.get(partition)
        return found[0] if found else None

    def list_partitions_below(self, max_weight: int) -> list[Partition]:
        """Return the partitions that take records and hold no more than `max_weight` tokens."""
        return [
            partition
            for partition, (session, _) in self._sessions.items()
            if session.is_ready and session.weight <= max_weight and partition not in self._leaving
        ]

    def list_outcomes(self, topic: str) -> Iterator[Iterator[Outcome | None]]:
        """Return, for each partition of a topic that is ours, what is known of the records in its line."""
        return (session.outcomes for partition, (session, _) in self._sessions.items() if partition.topic == topic)

    def wake(self) -> None:
        """Let every session look anew whether something may be published."""
        for session, _ in self._sessions.values():
            session.wake()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Open a session for each; returns at once."""
        self._telemetry.rebalance("assigned", sorted(map(str, partitions)))
        if self._is_leaving_group:
            return
        self.is_assigned = True
        for partition in partitions:
            session = Session(
                partition,
                source=self._source,
                delivery=self._delivery,
                events=self._events,
                backoff=self._options.backoff,
                max_publish_records=self._options.max_publish_records,
                publish_interval_s=self.publish_interval_s,
            )
            predecessor = self._sessions.get(partition)
            self._sessions[partition] = session, self._spawn(_succeed(session, predecessor[1] if predecessor else None))

    def publish_interval_s(self) -> float:
        """Return how far apart publications of a partition begin: many partitions share what the broker and we can do."""
        return self._options.publish_interval_s * max(1.0, len(self._sessions) / _PARTITIONS_AT_FULL_PACE)

    async def leave(self, *, is_draining: bool = True) -> bool:
        """End every session, and open no more; return whether everything was published and committed."""
        self._is_leaving_group, self.is_assigned = True, False
        return await self.release(self.partitions, is_draining=is_draining)

    async def rejoin(self, *, is_draining: bool, pause_s: float = 0.0) -> None:
        """Drain or drop everything in flight, and join the group anew after a pause.

        Raises `BrokerUnavailable` where no broker answers, or the group refuses us.
        """
        await self.leave(is_draining=is_draining)
        await self._source.stop()
        await asyncio.sleep(pause_s)
        self._is_leaving_group = False
        await self._source.start(self)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Hand these back, drained as far as the bound allows."""
        self._telemetry.rebalance("revoked", sorted(map(str, partitions)))
        await self._spawn(self._hand_back(set(partitions)))

    async def _hand_back(self, partitions: set[Partition]) -> None:
        await self.release(partitions)

    async def release(self, partitions: set[Partition], *, is_draining: bool = True) -> bool:
        """End the sessions of these partitions; return whether everything of them was published and committed."""
        mine = partitions & self._sessions.keys()
        self._leaving |= mine
        try:
            is_drained = is_draining and await self._drained(mine) and await self.commit(mine)
        finally:
            # Two leaves may overlap, of a partition and of the whole worker: the first to end ends the session.
            lives = [self._sessions.pop(partition)[1] for partition in mine & self._sessions.keys()]
            for life in lives:
                life.cancel()
            self._leaving -= mine
        await asyncio.gather(*lives, return_exceptions=True)
        return is_drained

    async def commit(self, partitions: Collection[Partition]) -> bool:
        """Commit what was published of these; return whether that went well: what failed stays due."""
        mine = [partition for partition in partitions if (session := self.find_owner(partition)) and session.is_ready]
        try:
            async with asyncio.timeout(self._options.drain_timeout_s):
                await self._delivery.commit(mine)
        except (PublishFailed, TimeoutError) as error:
            self._telemetry.retry("commit", error)
            return False
        return True

    async def _drained(self, partitions: set[Partition]) -> bool:
        """Wait for the lines of these partitions to empty, within the bound; what a session dropped is not drained."""
        sessions = [self._sessions[partition][0] for partition in partitions]
        try:
            async with asyncio.timeout(self._options.drain_timeout_s):
                await asyncio.gather(*(session.wait_drained() for session in sessions))
                # The last record of one partition may have released what another one held.
                while not all(session.is_drained for session in sessions):
                    await asyncio.gather(*(session.wait_drained() for session in sessions))
        except TimeoutError:
            return False
        return all(session.is_ready or session.is_new for session in sessions)


async def _succeed(session: Session, predecessor: asyncio.Task[None] | None) -> None:
    """Live, but not before the last session of the same partition has ended, in case nobody told us that it was taken away."""
    if predecessor is not None:
        predecessor.cancel()
        await asyncio.wait([predecessor])
    await session.run()
