"""The assigned partitions of the worker, with a session for each.

A revoked partition is drained: its records in flight are published and committed within `drain_timeout_s`. The other records are
dropped, and the next owner reads them again.
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
    from worker.observability.metrics import WorkerTelemetry
    from worker.ports import Delivery, Source
    from worker.records import Outcome, Partition

    Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]


# Up to this number of partitions publish at `publish_interval_s`. With more partitions the interval grows: a
# transaction has a fixed
# cost, and 32 partitions at this interval would take half of the worker's time.
_PARTITIONS_AT_FULL_PACE = 8


class Assignment:
    """The sessions of the assigned partitions. Implements `worker.ports.AssignmentListener`.

    `spawn` starts a task whose exception ends the worker. aiokafka only logs the exceptions of its callbacks.
    """

    def __init__(
        self,
        *,
        spawn: Spawn,
        source: Source,
        delivery: Delivery,
        telemetry: WorkerTelemetry,
        events: SessionEvents,
        options: Options,
    ) -> None:
        """Start without partitions."""
        self._spawn = spawn
        self._source = source
        self._delivery = delivery
        self._telemetry = telemetry
        self._events = events
        self._options = options
        # The session of each assigned partition, and the task that runs it.
        self._sessions: dict[Partition, tuple[Session, asyncio.Task[None]]] = {}
        # Partitions that are being drained for a revocation. They are not polled.
        self._leaving: set[Partition] = set()
        # The result of the drain of each partition that is being drained.
        self._drains: dict[Partition, asyncio.Future[bool]] = {}
        # Whether the group has assigned partitions, even none.
        self.is_assigned = False
        # Whether the worker leaves the group for good, and for a moment. Partitions that are assigned meanwhile have no session.
        self._is_leaving_group = self._is_rejoining = False

    @property
    def is_ready(self) -> bool:
        """Whether the group has assigned partitions and the session of every partition is open."""
        return self.is_assigned and all(session.is_ready for session, _ in self._sessions.values())

    @property
    def weight(self) -> int:
        """Tokens in flight of all partitions."""
        return sum(session.weight for session, _ in self._sessions.values())

    def get_weight(self, topic: str) -> int:
        """Return the tokens in flight of one topic."""
        return sum(session.weight for partition, (session, _) in self._sessions.items() if partition.topic == topic)

    @property
    def weights(self) -> dict[Partition, int]:
        """Tokens in flight, by partition."""
        return {partition: session.weight for partition, (session, _) in self._sessions.items()}

    @property
    def partitions(self) -> set[Partition]:
        """The assigned partitions."""
        return set(self._sessions)

    def find_session(self, partition: Partition) -> Session | None:
        """Return the session of an assigned partition; None during a revocation."""
        return None if partition in self._leaving else self.find_owner(partition)

    def find_owner(self, partition: Partition) -> Session | None:
        """Return the session of an assigned partition, also during its revocation."""
        entry = self._sessions.get(partition)
        return entry[0] if entry else None

    def list_partitions_below(self, max_weight: int) -> list[Partition]:
        """Return the open partitions with at most `max_weight` tokens in flight."""
        return [
            partition
            for partition, (session, _) in self._sessions.items()
            if session.is_ready and session.weight <= max_weight and partition not in self._leaving
        ]

    def list_outcomes(self, topic: str) -> Iterator[Iterator[Outcome | None]]:
        """Return the outcomes of the tracked records of each assigned partition of a topic; None for an unfinished record."""
        return (session.outcomes for partition, (session, _) in self._sessions.items() if partition.topic == topic)

    def wake(self) -> None:
        """Let every session check again which outcomes may be published."""
        for session, _ in self._sessions.values():
            session.wake()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Start a session for each partition. Returns at once."""
        self._telemetry.rebalance("assigned", sorted(map(str, partitions)))
        if self._is_leaving_group or self._is_rejoining:
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
            self._sessions[partition] = session, self._spawn(_run_after(session, predecessor[1] if predecessor else None))

    def publish_interval_s(self) -> float:
        """Return the seconds between two publications of a partition; the interval grows with the number of partitions."""
        return self._options.publish_interval_s * max(1.0, len(self._sessions) / _PARTITIONS_AT_FULL_PACE)

    async def leave(self) -> bool:
        """Drain and end all sessions, and start no more; return whether all records were published and committed."""
        self._is_leaving_group, self.is_assigned = True, False
        return await self.release(self.partitions)

    async def rejoin(self, *, is_draining: bool, delay_s: float = 0.0) -> None:
        """End all sessions, with or without a drain, and join the group again after a delay.

        Raises `BrokerUnavailable` if no broker answers or the group refuses the worker.
        """
        self._is_rejoining, self.is_assigned = True, False
        await self.release(self.partitions, is_draining=is_draining)
        await self._source.stop()
        await asyncio.sleep(delay_s)
        self._is_rejoining = False
        await self._source.start(self)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Drain these partitions within the bound and end their sessions."""
        self._telemetry.rebalance("revoked", sorted(map(str, partitions)))
        await self._spawn(self._release_revoked(set(partitions)))

    async def lost(self, partitions: Collection[Partition]) -> None:
        """End the sessions of these partitions without a drain, because another member may own them."""
        self._telemetry.rebalance("lost", sorted(map(str, partitions)))
        await self._spawn(self._release_revoked(set(partitions), is_draining=False))

    async def _release_revoked(self, partitions: set[Partition], *, is_draining: bool = True) -> None:
        await self.release(partitions, is_draining=is_draining)

    async def release(self, partitions: set[Partition], *, is_draining: bool = True) -> bool:
        """End the sessions of these partitions; return whether all records were published and committed.

        A drain that finds an earlier drain of a partition, such as that of a revocation, returns the result of the earlier one.
        """
        earlier = {self._drains[partition] for partition in partitions & self._drains.keys()} if is_draining else set()
        mine = (partitions & self._sessions.keys()) - (self._drains.keys() if is_draining else set())
        drain: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._drains |= dict.fromkeys(mine if is_draining else (), drain)
        self._leaving |= mine
        is_drained = False
        try:
            is_drained = is_draining and await self._drain(mine) and await self.commit(mine)
        finally:
            # The loss of a partition may overlap with its drain: the first to end ends the session.
            tasks = [self._sessions.pop(partition)[1] for partition in mine & self._sessions.keys()]
            for task in tasks:
                task.cancel()
            self._leaving -= mine
            self._drains = {partition: other for partition, other in self._drains.items() if other is not drain}
            drain.set_result(is_drained)
        await asyncio.gather(*tasks, return_exceptions=True)
        if earlier:
            # Not `gather`, which would cancel the drains of others with this call.
            await asyncio.wait(earlier)
        return all([is_drained, *(other.result() for other in earlier)])

    async def commit(self, partitions: Collection[Partition]) -> bool:
        """Commit the published offsets of these partitions; return whether the commit succeeded. The next call tries again."""
        mine = [partition for partition in partitions if (session := self.find_owner(partition)) and session.is_ready]
        try:
            async with asyncio.timeout(self._options.drain_timeout_s):
                await self._delivery.commit(mine)
        except (PublishFailed, TimeoutError) as error:
            self._telemetry.retry("commit", error)
            return False
        return True

    async def _drain(self, partitions: set[Partition]) -> bool:
        """Wait within the bound until the partitions are drained; return False if a session ended and dropped records."""
        sessions = [self._sessions[partition][0] for partition in partitions]
        try:
            async with asyncio.timeout(self._options.drain_timeout_s):
                await asyncio.gather(*(session.wait_drained() for session in sessions))
                # The last record of one partition may have released held records of another.
                while not all(session.is_drained for session in sessions):
                    await asyncio.gather(*(session.wait_drained() for session in sessions))
        except TimeoutError:
            return False
        return all(session.is_ready or session.was_never_open for session in sessions)


async def _run_after(session: Session, predecessor: asyncio.Task[None] | None) -> None:
    """Run a session after the end of its predecessor, if the group assigned the partition again without a revocation."""
    if predecessor is not None:
        predecessor.cancel()
        await asyncio.wait([predecessor])
    await session.run()
