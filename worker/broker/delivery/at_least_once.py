"""At-least-once delivery: publish, await every acknowledgement, and only then allow the commit of the offset.

One idempotent producer serves the worker. A failed send leaves its state unknown, so the producer is discarded. All publications in
progress fail with it, and their sessions start again at their committed offsets. A message that the broker never
accepts is found by sending one message at a time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from worker.broker.admin.topics import check_rights
from worker.broker.delivery.batch_producer import REFUSALS, BatchProducer
from worker.broker.delivery.output_topics import RECENT_S, LimitedByTopics, OutputTopics
from worker.errors import PublishFailed, RecordRefused, describe_error

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.consumer import Consumer
    from worker.records import Message, Outcome, Output, Partition


class AtLeastOnce(LimitedByTopics):
    """Implements `worker.ports.Delivery`. Only `commit` commits the offsets of published records."""

    def __init__(
        self,
        consumer: Consumer,
        connection: Connection,
        *,
        topics: Mapping[str, Mapping[Output, str]],
        compression: str | None = "zstd",
        step_timeout_s: float = 30.0,
        describe_interval_s: float = 180.0,
    ) -> None:
        """Publish to `topics`, by input topic and output, and commit through `consumer`. Each step takes at most `step_timeout_s`.

        The topics are described every `describe_interval_s`, and before a session opens after a failure.
        """
        super().__init__(connection, OutputTopics(topics, interval_s=describe_interval_s), consumer.on_event)
        self._consumer = consumer
        self._compression = compression
        self._step_timeout_s = step_timeout_s
        # None until the next publication needs a producer.
        self._producer: BatchProducer | None = None
        # One start at a time, so that concurrent sessions share one producer.
        self._start_lock = asyncio.Lock()
        # By open partition, the offset after the last acknowledged record, which may be committed.
        self._published: dict[Partition, int] = {}
        # By open partition, the offset of the last commit.
        self._committed: dict[Partition, int] = {}

    async def start(self) -> None:
        """Check the rights and describe the output topics. Raises `BrokerUnavailable` and `TopicsMissing`."""
        await check_rights(self._connection, [*self._outputs.rights(), *self._consumer.rights])
        await self._outputs.describe(self._connection)
        self._outputs.start(self._connection, on_failure=self._report_not_described)

    async def open(self, partition: Partition) -> int:
        """Return the committed offset of a partition. If there is none, commit the start offset and return it."""
        await self._outputs.refresh(self._connection)
        committed = await self._consumer.committed(partition)
        start = await self._consumer.find_start(partition, committed, shows_commits_at_once=True)
        if start != committed:
            # Without this commit, `latest` would choose a later start after the next failure and skip the records in between.
            await self._consumer.commit({partition: start})
        self._published[partition] = self._committed[partition] = start
        return start

    async def forget(self, partition: Partition) -> None:
        """End the work for a partition. The next owner publishes records again that were published but not committed."""
        self._published.pop(partition, None)
        self._committed.pop(partition, None)

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish the messages of a finished prefix in order. Returns once all are acknowledged."""
        messages = [(outcome, message) for outcome in outcomes for message in outcome.messages]
        try:
            await self._send(partition, [message for _, message in messages])
        except REFUSALS:
            await self._send_singly(partition, messages)
        if partition in self._published:
            self._published[partition] = outcomes[-1].next_offset

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Commit the offsets of published records of these partitions, where they have moved.

        While an earlier commit may still arrive and set the offsets back, all of them are committed again.
        """
        is_in_doubt = self._consumer.is_commit_in_doubt
        due = {
            partition: self._published[partition]
            for partition in partitions
            if partition in self._published and (is_in_doubt or self._published[partition] > self._committed[partition])
        }
        if not due:
            return
        await self._consumer.commit(due)
        # A partition may have been closed during the commit.
        self._committed |= {partition: offset for partition, offset in due.items() if partition in self._committed}

    async def stop(self) -> None:
        """Disconnect. The caller has ended all publications."""
        await self._outputs.stop()
        if self._producer is not None:
            await self._discard(self._producer)

    async def _send(self, partition: Partition, messages: Sequence[Message]) -> None:
        """Send messages and await every acknowledgement. A failure discards the producer.

        Raises `PublishFailed` and `REFUSALS`.
        """
        producer = await self._start_producer()
        try:
            await producer.send([self._outputs.route(partition, message) for message in messages], self._step_timeout_s)
        except REFUSALS:
            await self._discard(producer)
            raise
        except (KafkaError, TimeoutError) as error:
            self._outputs.is_doubtful = True
            await self._discard(producer)
            raise PublishFailed(f"a message of {partition} was not acknowledged: {describe_error(error)}") from error
        except asyncio.CancelledError:
            # The result of the send is unknown, and the sends of other partitions must not depend on it.
            await self._discard(producer)
            raise

    async def _send_singly(self, partition: Partition, messages: Sequence[tuple[Outcome, Message]]) -> None:
        """Send one message at a time. Raises `RecordRefused` for the message that the broker refuses."""
        for outcome, message in messages:
            try:
                await self._send(partition, [message])
            except REFUSALS as error:
                # The next messages are compared with the present limits of the topics.
                self._outputs.is_doubtful = True
                await self._outputs.refresh(self._connection, max_age_s=RECENT_S)
                raise RecordRefused(partition, outcome.offset, message.output, describe_error(error)) from error

    async def _start_producer(self) -> BatchProducer:
        async with self._start_lock:
            if self._producer is None:
                producer = BatchProducer(self._connection, compression=self._compression, max_bytes=self._outputs.max_bytes)
                await producer.start(self._step_timeout_s)
                self._producer = producer
            return self._producer

    async def _discard(self, producer: BatchProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await producer.discard()
