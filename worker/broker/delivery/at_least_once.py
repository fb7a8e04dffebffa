"""At least once: publish, await every acknowledgement, and only then let the offset be committed.

One idempotent producer serves the worker. A send that fails leaves the client unable to say what became of it, and out of step
with the broker for that partition; so the producer is thrown away, every publication that it had in work fails with it, and the
sessions read again from their committed offsets. A message that the broker will never take is found by sending one at a time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from worker.broker.admin.topics import check_rights
from worker.broker.delivery.batch_producer import REFUSALS, BatchProducer
from worker.broker.delivery.output_topics import OutputTopics
from worker.errors import PublishFailed, RecordRefused, describe_error

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.consumer import Consumer
    from worker.records import Message, Outcome, Output, Partition

# How old a description of the output topics may be when a message was refused: many may be refused, one after the other.
_MAX_AGE_S = 5.0


class AtLeastOnce:
    """Satisfies `worker.ports.Delivery`. The offsets of what was published are committed by `commit`, never before."""

    def __init__(
        self,
        consumer: Consumer,
        connection: Connection,
        *,
        topics: Mapping[Output, str],
        compression: str | None = "zstd",
        step_timeout_s: float = 30.0,
        describe_interval_s: float = 180.0,
    ) -> None:
        """Publish to `topics` and commit through `consumer`; no step takes longer than `step_timeout_s`.

        The topics are described anew every `describe_interval_s`, and before a session opens after a failure.
        """
        self._consumer = consumer
        self._connection = connection
        self._outputs = OutputTopics(topics, interval_s=describe_interval_s)
        self._compression = compression
        self._step_timeout_s = step_timeout_s
        # The producer in use; None until the next publication needs one.
        self._producer: BatchProducer | None = None
        # One start at a time, so that concurrent sessions share one producer.
        self._start_lock = asyncio.Lock()
        # Published and acknowledged, by open partition: the offset that may be committed.
        self._published: dict[Partition, int] = {}
        # Committed by us in this session of the partition.
        self._committed: dict[Partition, int] = {}

    async def start(self) -> None:
        """Connect, and read what the output topics take."""
        await check_rights(self._connection, [*self._outputs.rights(), *self._consumer.rights])
        await self._outputs.describe(self._connection)
        self._outputs.start(self._connection, on_failure=self._not_described)

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that this output accepts, less what a batch adds to it."""
        return self._outputs.max_message_bytes(output)

    def needs_key(self, output: Output) -> bool:
        """Tell whether the topic of this output refuses a message without a key."""
        return self._outputs.needs_key(output)

    async def open(self, partition: Partition) -> int:
        """Return the committed offset of a partition; if there is none, commit and return the offset to start from."""
        await self._outputs.settle(self._connection)
        committed = await self._consumer.committed(partition)
        start = await self._consumer.find_start(partition, committed)
        if start != committed:
            # Before anything is read: a start that was not committed would be chosen anew each time, past what came meanwhile.
            await self._consumer.commit({partition: start})
        self._published[partition] = self._committed[partition] = start
        return start

    async def forget(self, partition: Partition) -> None:
        """Forget a partition: what was published and not committed is published again by its next owner."""
        self._published.pop(partition, None)
        self._committed.pop(partition, None)

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish the messages of a finished prefix in order; returns once every one is acknowledged."""
        messages = [(outcome, message) for outcome in outcomes for message in outcome.messages]
        try:
            await self._send(partition, [message for _, message in messages])
        except REFUSALS:
            await self._send_singly(partition, messages)
        if partition in self._published:
            self._published[partition] = outcomes[-1].next_offset

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Commit what was published of these partitions, as far as that is not yet done."""
        due = {it: self._published[it] for it in partitions if it in self._published and self._published[it] > self._committed[it]}
        if not due:
            return
        await self._consumer.commit(due)
        self._committed |= {it: offset for it, offset in due.items() if it in self._committed}

    async def stop(self) -> None:
        """Disconnect: nothing is in flight that anybody still waits for."""
        await self._outputs.stop()
        if self._producer is not None:
            await self._discard(self._producer)

    async def _send(self, partition: Partition, messages: Sequence[Message]) -> None:
        """Send messages and await every acknowledgement; a failure ends the producer. Raises `PublishFailed` and `REFUSALS`."""
        producer = await self._started()
        try:
            await producer.send([self._outputs.addressed(partition, it) for it in messages], self._step_timeout_s)
        except REFUSALS:
            await self._discard(producer)
            raise
        except (KafkaError, TimeoutError) as error:
            self._outputs.is_doubtful = True
            await self._discard(producer)
            raise PublishFailed(f"a message of {partition} was not acknowledged: {describe_error(error)}") from error
        except asyncio.CancelledError:
            # Nobody knows what became of what was sent; the next sends of others must not depend on it.
            await self._discard(producer)
            raise

    async def _send_singly(self, partition: Partition, messages: Sequence[tuple[Outcome, Message]]) -> None:
        """Send one message at a time until the one that is refused shows itself."""
        for outcome, message in messages:
            try:
                await self._send(partition, [message])
            except REFUSALS as error:
                # What comes next is held against what the topics take now.
                self._outputs.is_doubtful = True
                await self._outputs.settle(self._connection, max_age_s=_MAX_AGE_S)
                raise RecordRefused(partition, outcome.offset, message.output, describe_error(error)) from error

    async def _started(self) -> BatchProducer:
        async with self._start_lock:
            if self._producer is None:
                producer = BatchProducer(self._connection, compression=self._compression, max_bytes=self._outputs.max_bytes)
                await producer.start(self._step_timeout_s)
                self._producer = producer
            return self._producer

    def _not_described(self, error: Exception) -> None:
        self._consumer.on_event("outputs_not_described", error=describe_error(error))

    async def _discard(self, producer: BatchProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await producer.discard()
