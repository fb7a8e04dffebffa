"""Sending records again so that an interruption repeats none: what is sent and how far one is are one transaction.

The position is that of a consumer group of its own, of which nobody is a member. As with exactly once, the transactional id of a
partition is the fence: whoever opens it ends what an interrupted predecessor left open, and only then reads how far that one came.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from worker.broker.admin.offsets import CommittedOffset, fetch_committed
from worker.broker.admin.topics import admin_client, describe_topics
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.errors import BrokerUnavailable, PublishFailed, describe_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from worker.broker.admin.topics import TopicInfo
    from worker.broker.connection.connection import Connection
    from worker.records import Message, Partition

_STEP_TIMEOUT_S = 30.0


class Replay:
    """Sends to some topics, from partitions that are opened one by one."""

    def __init__(
        self, connection: Connection, *, group_id: str, topics: Mapping[str, TopicInfo], transaction_timeout_s: float
    ) -> None:
        """Send to `topics`; remember how far it came as `group_id`.

        Readers of the topics wait behind a replay that was killed until its transaction's time is over, or it is run again.
        """
        self._connection = connection
        self._group_id = group_id
        self._topics = topics
        self._transaction_timeout_s = transaction_timeout_s
        # The producer of each partition that is open.
        self._producers: dict[Partition, TransactionalProducer] = {}

    async def open(self, partition: Partition) -> CommittedOffset | None:
        """Shut out whoever replays this partition, and return how far it came. Raises `BrokerUnavailable`."""
        producer = TransactionalProducer(
            self._connection,
            transactional_id=f"gist-stream:{self._group_id}:{partition.index}",
            transaction_timeout_s=self._transaction_timeout_s,
            compression="zstd",
            max_bytes={name: it.max_message_bytes for name, it in self._topics.items()},
        )
        try:
            await producer.start(_STEP_TIMEOUT_S)
            self._producers[partition] = producer
            await producer.wait_for_coordinator(partition, self._group_id, _STEP_TIMEOUT_S)
        except (PublishFailed, KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(f"{partition} cannot be taken over: {describe_error(error)}") from error
        async with admin_client(self._connection) as admin:
            return (await fetch_committed(admin, self._group_id, [partition])).get(partition)

    async def advance(self, partition: Partition, records: Sequence[tuple[Partition, Message]], position: CommittedOffset) -> None:
        """Send records, each to its place, and stand at `position`: both or neither. Raises `BrokerUnavailable`.

        Of a topic that has fewer partitions than a place asks for, several share one.
        """
        producer = self._producers[partition]
        addressed = [(to.topic, to.index % self._topics[to.topic].num_partitions, message) for to, message in records]
        try:
            await producer.begin(_STEP_TIMEOUT_S)
            await producer.send(addressed, _STEP_TIMEOUT_S)
            await producer.send_offset(partition, position.offset, self._group_id, _STEP_TIMEOUT_S, words=position.metadata)
            await producer.commit(_STEP_TIMEOUT_S)
        except (PublishFailed, KafkaError, TimeoutError) as error:
            raise BrokerUnavailable(
                f"{partition}: the last {len(records)} records are in doubt; what came before is done, and another run goes on "
                f"where this one came to: {describe_error(error)}"
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
    """Give a `Replay` into some topics. Raises `TopicsMissing` and `BrokerUnavailable`."""
    shapes = await describe_topics(connection, topics)
    replay = Replay(connection, group_id=group_id, topics=shapes, transaction_timeout_s=transaction_timeout_s)
    try:
        yield replay
    finally:
        await replay.stop()
