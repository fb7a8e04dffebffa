"""Sending records again so that an interruption repeats none: what is sent and how far one is are one transaction.

The position is that of a consumer group of its own, of which nobody is a member. As with exactly once, the transactional id of a
partition is the fence: whoever opens it ends what an interrupted predecessor left open, and only then reads how far that one came.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from worker.broker.offsets import Committed, committed_of
from worker.broker.topics import administering, shapes_of
from worker.broker.transactional import TransactionalProducer
from worker.errors import BrokerUnavailable, PublishFailed, reason_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from worker.broker.connection import Connection
    from worker.records import Message, Partition

_STEP_TIMEOUT_S = 30.0
_TRANSACTION_TIMEOUT_S = 60.0


class Replay:
    """Sends to one topic, from partitions that are opened one by one."""

    def __init__(self, connection: Connection, *, group_id: str, topic: str, num_partitions: int, max_message_bytes: int) -> None:
        """Send to `topic`; remember how far it came as `group_id`."""
        self._connection = connection
        self._group_id = group_id
        self._topic = topic
        self._num_partitions = num_partitions
        self._max_bytes = {topic: max_message_bytes}
        # The producer of each partition that is open.
        self._producers: dict[Partition, TransactionalProducer] = {}

    async def open(self, partition: Partition) -> Committed | None:
        """Shut out whoever replays this partition, and return how far it came. Raises `BrokerUnavailable`."""
        producer = TransactionalProducer(
            self._connection,
            transactional_id=f"gist-stream:{self._group_id}:{partition.index}",
            transaction_timeout_s=_TRANSACTION_TIMEOUT_S,
            compression="zstd",
            max_bytes=self._max_bytes,
        )
        try:
            await producer.start(_STEP_TIMEOUT_S)
            self._producers[partition] = producer
            await producer.await_coordinator(partition, self._group_id, _STEP_TIMEOUT_S)
        except (PublishFailed, KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(f"{partition} cannot be taken over: {reason_of(error)}") from error
        async with administering(self._connection) as admin:
            return (await committed_of(admin, self._group_id, [partition])).get(partition)

    async def advance(self, partition: Partition, records: Sequence[tuple[int, Message]], position: Committed) -> None:
        """Send records, each to its partition, and stand at `position`: both or neither. Raises `BrokerUnavailable`."""
        producer = self._producers[partition]
        addressed = [(self._topic, index % self._num_partitions, message) for index, message in records]
        try:
            await producer.begin(_STEP_TIMEOUT_S)
            await producer.send(addressed, _STEP_TIMEOUT_S)
            await producer.send_offset(partition, position.offset, self._group_id, _STEP_TIMEOUT_S, words=position.metadata)
            await producer.commit(_STEP_TIMEOUT_S)
        except (PublishFailed, KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(
                f"{partition}: the last {len(records)} records are in doubt; what came before is done, and another run goes on "
                f"where this one came to: {reason_of(error)}"
            ) from error

    async def stop(self) -> None:
        """Disconnect."""
        for producer in self._producers.values():
            await producer.discard()
        self._producers.clear()


@asynccontextmanager
async def replaying(connection: Connection, *, group_id: str, topic: str) -> AsyncIterator[Replay]:
    """Give a `Replay` into a topic. Raises `TopicsMissing` and `BrokerUnavailable`."""
    shape = (await shapes_of(connection, [topic]))[topic]
    replay = Replay(
        connection,
        group_id=group_id,
        topic=topic,
        num_partitions=shape.num_partitions,
        max_message_bytes=shape.max_message_bytes,
    )
    try:
        yield replay
    finally:
        await replay.stop()
