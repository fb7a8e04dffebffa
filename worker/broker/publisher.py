"""At least once: publish, await every acknowledgement, and only then let the offset be committed.

One idempotent producer serves the worker. A send that fails leaves the client unable to say what became of it, and out of step
with the broker for that partition; so the producer is thrown away, every publication that it had in work fails with it, and the
sessions read again from their committed offsets. A message that the broker will never take is found by sending one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidMessageError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)

from worker.broker.topics import shapes_of
from worker.errors import PublishFailed, RecordRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka.producer.message_accumulator import BatchBuilder

    from worker.broker.connection import Connection
    from worker.broker.consumer import Consumer
    from worker.broker.topics import Shape
    from worker.records import Message, Outcome, Output, Partition

# What a broker says of a message that it will never take, however often it is sent.
_REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError, UnsupportedForMessageFormatError)
# What the batch around a message may add to its size: the batch header and the lengths of its fields.
_OVERHEAD_BYTES = 1_024
_MAX_BATCH_BYTES = 524_288
# A message on its way: topic, partition and content.
Addressed: TypeAlias = "tuple[str, int, Message]"


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
    ) -> None:
        """Publish to `topics` and commit through `consumer`; no step takes longer than `step_timeout_s`."""
        self._consumer = consumer
        self._connection = connection
        self._topics = topics
        self._compression = compression
        self._step_timeout_s = step_timeout_s
        # What each output topic is: its partitions and the largest message that it takes.
        self._shapes: dict[Output, Shape] = {}
        # The producer in use; None until the next publication needs one.
        self._producer: _Producer | None = None
        # One start at a time, so that concurrent sessions share one producer.
        self._start_lock = asyncio.Lock()
        # Published and acknowledged, by open partition: the offset that may be committed.
        self._published: dict[Partition, int] = {}
        # Committed by us in this session of the partition.
        self._committed: dict[Partition, int] = {}

    async def start(self) -> None:
        """Connect, and read what the output topics take."""
        shapes = await shapes_of(self._connection, list(self._topics.values()))
        self._shapes = {output: shapes[topic] for output, topic in self._topics.items()}

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that this output accepts, less what a batch adds to it."""
        return max(0, self._shapes[output].max_message_bytes - _OVERHEAD_BYTES)

    async def open(self, partition: Partition) -> int:
        """Stand at the committed offset of a partition and return it."""
        start = await self._consumer.rewind(partition)
        self._published[partition] = self._committed[partition] = start
        return start

    async def close(self, partition: Partition) -> None:
        """Forget a partition: what was published and not committed is published again by its next owner."""
        self._consumer.close(partition)
        self._published.pop(partition, None)
        self._committed.pop(partition, None)

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish the messages of a finished prefix in order; returns once every one is acknowledged."""
        messages = [(outcome, message) for outcome in outcomes for message in outcome.messages]
        producer = await self._started()
        try:
            await producer.send([self._addressed(partition, message) for _, message in messages], self._step_timeout_s)
        except _REFUSALS:
            await self._discard(producer)
            await self._send_singly(partition, messages)
        except (KafkaError, TimeoutError) as error:
            await self._discard(producer)
            raise PublishFailed(f"a message of {partition} was not acknowledged: {_reason(error)}") from error
        except asyncio.CancelledError:
            # Nobody knows what became of what was sent; the next sends of others must not depend on it.
            await self._discard(producer)
            raise
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
        if self._producer is not None:
            await self._discard(self._producer)

    async def _send_singly(self, partition: Partition, messages: Sequence[tuple[Outcome, Message]]) -> None:
        """Send one message at a time until the one that is refused shows itself."""
        for outcome, message in messages:
            producer = await self._started()
            try:
                await producer.send([self._addressed(partition, message)], self._step_timeout_s)
            except _REFUSALS as error:
                await self._discard(producer)
                raise RecordRefused(partition, outcome.offset, message.output, _reason(error)) from error
            except (KafkaError, TimeoutError) as error:
                await self._discard(producer)
                raise PublishFailed(f"a message of {partition} was not acknowledged: {_reason(error)}") from error

    def _addressed(self, partition: Partition, message: Message) -> Addressed:
        """Keep the partition's number, so that the order of a partition, and its keys, stay together."""
        shape = self._shapes[message.output]
        return self._topics[message.output], partition.index % shape.num_partitions, message

    async def _started(self) -> _Producer:
        async with self._start_lock:
            if self._producer is None:
                smallest = min(shape.max_message_bytes for shape in self._shapes.values())
                producer = _Producer(self._connection, compression=self._compression, max_request_bytes=smallest)
                try:
                    await asyncio.wait_for(producer.start(), self._step_timeout_s)
                except (KafkaError, OSError, TimeoutError) as error:
                    await producer.discard()
                    raise PublishFailed(f"no producer could be started: {_reason(error)}") from error
                self._producer = producer
            return self._producer

    async def _discard(self, producer: _Producer) -> None:
        if self._producer is producer:
            self._producer = None
        await producer.discard()


class _Producer:
    """One producer of Kafka's client, good until its first failure."""

    def __init__(self, connection: Connection, *, compression: str | None, max_request_bytes: int) -> None:
        self._max_request_bytes = max_request_bytes
        self._client = AIOKafkaProducer(
            **connection.options(),
            enable_idempotence=True,
            acks="all",
            compression_type=compression,
            # The client's own check comes before a sequence number is taken; the broker's comes after, and wedges the producer.
            max_request_size=max_request_bytes,
            max_batch_size=min(_MAX_BATCH_BYTES, max_request_bytes),
        )
        # Done once the producer is thrown away: whoever still waits for an acknowledgement stops waiting.
        self._discarded = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        await self._client.start()

    async def send(self, addressed: Sequence[Addressed], timeout_s: float) -> None:
        """Send in order and await every acknowledgement; raises what any of them raised."""
        places: dict[tuple[str, int], list[Message]] = {}
        for topic, partition, it in addressed:
            places.setdefault((topic, partition), []).append(it)
        # Refused before anything is sent.
        batches = {place: self._batches(messages) for place, messages in places.items()}
        sending = [asyncio.create_task(self._send_batches(*place, its)) for place, its in batches.items()]
        acknowledged = asyncio.gather(*sending)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait([acknowledged, self._discarded], return_when=asyncio.FIRST_COMPLETED)
                if not acknowledged.done():
                    raise KafkaError("another partition's message failed, and the producer with it")
                acknowledged.result()
        finally:
            for task in sending:
                task.cancel()
            # Whatever they end with is known already, or follows from it.
            ended: list[asyncio.Future[Any]] = [acknowledged, *sending]
            await asyncio.wait(ended)
            if not acknowledged.cancelled():
                acknowledged.exception()

    async def _send_batches(self, topic: str, partition: int, batches: Sequence[BatchBuilder]) -> None:
        """Send batches to one place, each queued once the one before has left, and await their acknowledgements."""
        waiting: list[asyncio.Future[object]] = []
        try:
            for it in batches:
                waiting.append(await self._client.send_batch(it, topic, partition=partition))  # noqa: PERF401  kept if one fails
            await asyncio.gather(*waiting)
        finally:
            for future in waiting:
                future.cancel()

    def _batches(self, messages: Sequence[Message]) -> list[BatchBuilder]:
        """Fill batches ourselves: one acknowledgement for each costs the event loop far less than one for each message."""
        batches: list[BatchBuilder] = []
        for it in messages:
            if it.size_bytes > self._max_request_bytes:
                raise MessageSizeTooLargeError(f"a message of {it.size_bytes} bytes, and {self._max_request_bytes} may be sent")
            if not batches or not _is_added(batches[-1], it):
                batches.append(self._client.create_batch())
                _is_added(batches[-1], it)
        for batch in batches:
            batch.close()
        return batches

    async def discard(self) -> None:
        """Drop it without flushing and without waiting for a broker; a second time has no effect."""
        if self._discarded.done():
            return
        self._discarded.set_result(None)
        client = self._client
        client._closed = True  # noqa: SLF001  its own stop() would flush first, and wait for brokers that may never answer
        sender = client._sender  # noqa: SLF001  the same
        if sender is not None and sender.sender_task is not None:
            sender.sender_task.cancel()
        # Whoever discards is often being cancelled, or fails already: what cannot be closed in time goes with its object.
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(client.client.close(), 5)


def _is_added(batch: BatchBuilder, message: Message) -> bool:
    """Add a message to a batch; False where it is full."""
    key, value, headers = message.key, message.value, list(message.headers)
    return batch.append(timestamp=None, key=key, value=value, headers=headers) is not None


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
