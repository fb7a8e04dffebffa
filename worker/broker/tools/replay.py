"""Sends records again without duplicates: one transaction contains the records and the position of the replay.

The position is the committed offset of a separate consumer group without members. As in exactly-once delivery, the
transactional id of a partition is the fence: a new replay ends the open transaction of an interrupted one, and then
reads its position.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from worker.broker.admin.offsets import CommittedOffset, fetch_committed
from worker.broker.admin.topics import describe_topics
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.errors import BrokerUnavailable, PublishFailed, describe_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from worker.broker.admin.topics import TopicInfo
    from worker.broker.connection.connection import Connection
    from worker.records import Message, Partition

_STEP_TIMEOUT_S = 30.0


class Replay:
    """Sends records from source partitions to topics."""

    def __init__(
        self, connection: Connection, *, group_id: str, topics: Mapping[str, TopicInfo], transaction_timeout_s: float
    ) -> None:
        """Send to `topics`, and commit positions for `group_id`.

        If a replay is killed, readers of the topics wait until the next replay starts or `transaction_timeout_s` is over.
        """
        self._connection = connection
        self._group_id = group_id
        self._topics = topics
        self._transaction_timeout_s = transaction_timeout_s
        # The producer of each open partition.
        self._producers: dict[Partition, TransactionalProducer] = {}

    async def open(self, partition: Partition) -> CommittedOffset | None:
        """Fence an earlier replay of a source partition and return its position. Raises `BrokerUnavailable`."""
        producer = TransactionalProducer(
            self._connection,
            transactional_id=f"gist-stream:{self._group_id}:{partition.index}",
            transaction_timeout_s=self._transaction_timeout_s,
            compression="zstd",
            max_bytes={name: info.max_message_bytes for name, info in self._topics.items()},
        )
        try:
            await producer.start(_STEP_TIMEOUT_S)
            self._producers[partition] = producer
            await producer.wait_for_coordinator(partition, self._group_id, _STEP_TIMEOUT_S)
        except (PublishFailed, KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(f"{partition} cannot be taken over: {describe_error(error)}") from error
        return (await fetch_committed(self._connection, self._group_id, [partition])).get(partition)

    async def advance(self, partition: Partition, records: Sequence[tuple[Partition, Message]], position: CommittedOffset) -> None:
        """Send records to their partitions and commit the position, both or neither. Raises `BrokerUnavailable`.

        A partition that its topic does not have is mapped to an existing one.
        """
        producer = self._producers[partition]
        routed = [(to.topic, to.index % self._topics[to.topic].num_partitions, message) for to, message in records]
        try:
            await producer.begin(_STEP_TIMEOUT_S)
            await producer.send(routed, _STEP_TIMEOUT_S)
            await producer.send_offset(partition, position.offset, self._group_id, _STEP_TIMEOUT_S, metadata=position.metadata)
            await producer.commit(_STEP_TIMEOUT_S)
        except (PublishFailed, KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(
                f"{partition}: it is unknown whether the last {len(records)} records were sent. All records before them were sent. "
                f"Run the command again to continue: {describe_error(error)}"
            ) from error

    async def stop(self) -> None:
        """Disconnect."""
        for producer in self._producers.values():
            await producer.discard()
        self._producers.clear()


@asynccontextmanager
async def open_replay(
    connection: Connection, *, group_id: str, topics: Sequence[str], transaction_timeout_s: float
) -> AsyncIterator[Replay]:
    """Open a `Replay` to some topics. Raises `TopicsMissing` and `BrokerUnavailable`."""
    infos = await describe_topics(connection, topics)
    replay = Replay(connection, group_id=group_id, topics=infos, transaction_timeout_s=transaction_timeout_s)
    try:
        yield replay
    finally:
        await replay.stop()
