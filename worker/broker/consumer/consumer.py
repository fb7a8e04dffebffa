"""One member of the consumer group: records in, in order and without a gap, whatever Kafka's client does on the way.

Partitions that are not asked for keep what was fetched for them: that is backpressure, and the gate before a session is ready.
Positions are our own. After any exception out of a fetch, every partition is put back to where we know that it stands, because the
client moves positions before it hands records out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

from worker.broker.admin.permissions import Right, build_topic_rights, check_access
from worker.broker.consumer.fetcher import Fetcher
from worker.broker.consumer.membership import Membership, RefusalDetector
from worker.broker.consumer.stall_probe import StallProbe
from worker.broker.consumer.starting_offsets import StartOffsets, read_log
from worker.broker.patches.decompression_limit import patch_decompression_limit
from worker.broker.timeouts import with_timeout
from worker.errors import ConsumerBroken, PublishFailed, describe_error
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.fetcher import OnEvent
    from worker.gaps import EmptyRange
    from worker.ports import AssignmentListener
    from worker.records import Record, UnreadableRange


class Consumer:
    """Satisfies `worker.ports.Source`, and gives the delivery what it needs of the group: positions and commits."""

    def __init__(
        self,
        connection: Connection,
        *,
        topics: Sequence[str],
        group_id: str,
        on_event: OnEvent,
        auto_offset_reset: str = "earliest",
        poll_timeout_ms: int = 200,
        step_timeout_s: float = 15.0,
        look_interval_s: float = 1.0,
        stuck_after_s: float = 15.0,
        **membership: Any,
    ) -> None:
        """Be a member of `group_id` on `topics`; `auto_offset_reset` says where a partition without a committed offset begins."""
        self._connection = connection
        self._topics = topics
        self._membership = Membership(topics=topics, group_id=group_id, **membership)
        # Whether the group takes us.
        self._admission = RefusalDetector(self._membership)
        self.on_event = on_event
        # Knows where a session begins that has no committed offset.
        self._starts = StartOffsets(auto_offset_reset, on_event)
        self._poll_timeout_ms = poll_timeout_ms
        self._step_timeout_s = step_timeout_s
        # Kafka's client; None before the start and after the stop.
        self._client: AIOKafkaConsumer | None = None
        # Reads through the client, and knows where each open partition stands.
        self._fetcher: Fetcher | None = None
        # Looks every so often whether the client hangs: a partition that is behind and has room stands still for so long.
        self._lookout = StallProbe(on_event, interval_s=look_interval_s, limit_s=stuck_after_s)
        # One commit at a time: a second could overtake the first and set an offset back.
        self._commit_lock = asyncio.Lock()

    @property
    def rights(self) -> list[Right]:
        """What the brokers must allow a member of the group."""
        return [*build_topic_rights(["Read"], self._topics), Right("Read", "group", self._membership.group_id)]

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group; raises `BrokerUnavailable` where no broker answers, or we may not."""
        patch_decompression_limit()
        client = AIOKafkaConsumer(
            **self._connection.options(),
            **self._membership.options(),
            enable_auto_commit=False,
            # We set every position ourselves; the client must never choose one.
            auto_offset_reset="none",
            # Two assignors would mean two JoinGroup requests for each rebalance.
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            isolation_level="read_committed",
            # The poll loop always turns; a worker that is slow is not dead.
            max_poll_interval_ms=2_147_483_647,
            fetch_max_wait_ms=100,
            metadata_max_age_ms=30_000,
        )
        try:
            await self._connection.connect(client.start())
            await check_access(self._connection, client._client, self.rights)  # noqa: SLF001  nobody else knows
        except BaseException:
            await _stopped(client)
            raise
        self._admission.refusal = None
        # Pinned to 0.14, whose contract test watches this.
        client._client.send = _heeding(client._client.send, self._admission)  # noqa: SLF001
        self._client = client
        self._fetcher = Fetcher(client, self._fetch_event)
        client.subscribe(self._topics, listener=_Listener(client, self._fetcher, listener))

    async def poll(self, partitions: Collection[Partition], *, max_records: int) -> Sequence[Record | UnreadableRange | EmptyRange]:
        """Return what has arrived for these partitions, in order and without a gap in each of them, or nothing.

        Raises `ConsumerBroken`.
        """
        client, fetcher = self._started()
        self._admission.check()
        self._lookout.check(client, fetcher, partitions)
        return await fetcher.poll(partitions, max_records=max_records, timeout_ms=self._poll_timeout_ms)

    async def committed(self, partition: Partition) -> int | None:
        """Return what the group has committed of a partition, None where it has nothing. Raises `PublishFailed`."""
        client, _ = self._started()
        try:
            async with asyncio.timeout(self._step_timeout_s):
                committed: int | None = await client.committed(TopicPartition(partition.topic, partition.index))
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the committed offset of {partition} cannot be read: {describe_error(error)}") from error
        return committed

    async def find_start(self, partition: Partition, committed: int | None) -> int:
        """Return the offset to read an assigned partition from: `committed`, or where `auto_offset_reset` says.

        If the returned offset differs from `committed`, the caller commits it before it reads. Raises `PublishFailed`.
        """
        client, _ = self._started()
        where = TopicPartition(partition.topic, partition.index)
        try:
            async with asyncio.timeout(self._step_timeout_s):
                await self._starts.learn(client, partition.topic)
                log = await read_log(client, where, round(self._step_timeout_s * 1000))
            start = self._starts.find(partition, committed, log)
        except (KafkaError, TimeoutError) as error:
            raise PublishFailed(f"the ends of {partition} cannot be read: {describe_error(error)}") from error
        if where not in client.assignment():
            raise PublishFailed(f"{partition} is no longer assigned to this worker")
        return start

    def seek(self, partition: Partition, offset: int) -> None:
        """Read a partition from `offset`; raises `PublishFailed` if the partition is no longer assigned."""
        _, fetcher = self._started()
        try:
            fetcher.open(partition, offset)
        except KafkaError as error:
            raise PublishFailed(f"{partition} is no longer assigned to this worker: {describe_error(error)}") from error

    def metadata(self, partition: Partition) -> str:
        """Return what to commit beside an offset of a partition that was rewound."""
        return self._starts.metadata(partition.topic)

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets of partitions that are ours, one commit at a time. Raises `PublishFailed`."""
        client, _ = self._started()
        async with self._commit_lock:
            assigned = client.assignment()
            wanted = {
                TopicPartition(it.topic, it.index): OffsetAndMetadata(offset, self.metadata(it)) for it, offset in offsets.items()
            }
            # The client would commit with the generation of today: what is not ours any more must not be in it.
            mine = {where: offset for where, offset in wanted.items() if where in assigned}
            if not mine:
                return
            try:
                await with_timeout(self._step_timeout_s, client.commit(mine))
            except (KafkaError, TimeoutError) as error:
                raise PublishFailed(f"the offsets could not be committed: {describe_error(error)}") from error

    def pause(self, partition: Partition) -> None:
        """Return no more records of a partition until the next `seek`."""
        if self._fetcher is not None:
            self._fetcher.close(partition)

    def lag(self) -> Mapping[Partition, int]:
        """Records between our position and the end of each open partition, as last heard from the broker."""
        return {} if self._fetcher is None else self._fetcher.lag()

    async def stop(self) -> None:
        """Leave the group, within a bound; without effect before the start."""
        client, self._client, self._fetcher = self._client, None, None
        self._lookout.stop()
        if client is not None:
            await _stopped(client)

    def _fetch_event(self, event: str, **fields: object) -> None:
        # The client raises a refusal of the group out of a fetch; the next poll tells it, and what to do.
        if not (event == "fetch_failed" and self._admission.refusal):
            self.on_event(event, **fields)

    def _started(self) -> tuple[AIOKafkaConsumer, Fetcher]:
        if self._client is None or self._fetcher is None:
            raise ConsumerBroken("the consumer is not started")
        return self._client, self._fetcher


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client ships no types
    """Passes on what the group gives and takes."""

    def __init__(self, client: AIOKafkaConsumer, fetcher: Fetcher, listener: AssignmentListener) -> None:
        self._client = client
        self._fetcher = fetcher
        self._listener = listener

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Wait until they are handed back."""
        partitions = [Partition(it.topic, it.partition) for it in revoked]
        if partitions:
            await self._listener.revoked(partitions)
        for partition in partitions:
            self._fetcher.close(partition)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Hold them until their sessions are open; returns at once, because no heartbeat leaves meanwhile."""
        try:
            self._client.pause(*assigned)
        except IllegalStateError:
            # Taken away again already: the next call of ours will say so.
            return
        self._listener.assigned([Partition(it.topic, it.partition) for it in assigned])


def _heeding(send: Callable[..., Awaitable[Any]], admission: RefusalDetector) -> Callable[..., Awaitable[Any]]:
    """Let an answer that is an error as a whole be one, and let `admission` see what the group answers.

    A coordinator that is only just taking over says so of the answer, which then names no partition. The client looks at the
    partitions alone, and would take it that the group has committed nothing and stands at the beginning.
    """

    async def heeding(node_id: int, request: object, **options: Any) -> Any:
        answer = await send(node_id, request, **options)
        admission.note(request, answer)
        if isinstance(request, OffsetFetchRequest) and (code := getattr(answer, "error_code", 0)):
            raise for_code(code)
        return answer

    return heeding


async def _stopped(client: AIOKafkaConsumer) -> None:
    """Stop a client within a bound: it waits for brokers that may never answer."""
    try:
        await with_timeout(10, client.stop())
    except (KafkaError, TimeoutError):
        await client._client.close()  # noqa: SLF001  the connections are all that is left to close
