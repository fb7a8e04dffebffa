"""One aiokafka producer, used until its first failure. It sends whole batches and awaits every acknowledgement.

After a failed send aiokafka does not know whether the broker has the messages, and its sequence numbers differ from the broker's.
`AIOKafkaProducer.stop` waits for brokers without a bound. Therefore the owner discards a failed producer and creates a new one.
"""

from __future__ import annotations

import asyncio
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidMessageError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)

from worker.broker.client_internals import discard_producer
from worker.broker.patches.early_compression import compress_early
from worker.broker.patches.error_codes import InvalidRecordError, UnknownCode
from worker.broker.timeouts import with_timeout
from worker.errors import PublishFailed, describe_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.producer.message_accumulator import BatchBuilder

    from worker.broker.connection.connection import Connection
    from worker.records import Message

# The errors of a message that the broker never accepts, however often it is sent. aiokafka raises these classes only for
# the response to a batch. Errors of the other steps of a transaction end its background task instead.
REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidMessageError,
    InvalidRecordError,
    PolicyViolationError,
    UnsupportedForMessageFormatError,
    UnknownCode,
)
_MAX_BATCH_BYTES = 524_288
# Up to this size batches are built in the event loop: the switch to a thread and back takes longer.
_MAX_BYTES_IN_EVENT_LOOP = 32_768
# What a batch adds at most to a message and to each of its headers: lengths, a timestamp and an offset.
_RECORD_BYTES, _HEADER_BYTES = 32, 10
# A message with its topic and partition.
RoutedMessage: TypeAlias = "tuple[str, int, Message]"


class BatchProducer:
    """One aiokafka producer, used until its first failure."""

    def __init__(self, connection: Connection, *, compression: str | None, max_bytes: Mapping[str, int], **options: Any) -> None:
        """Send to the topics of `max_bytes`, which maps names to the largest message. `options` are those of `AIOKafkaProducer`."""
        self._max_bytes = max_bytes
        self._client = AIOKafkaProducer(
            **connection.options(),
            enable_idempotence=True,
            acks="all",
            compression_type=compression,
            max_batch_size=_MAX_BATCH_BYTES,
            **options,
        )
        # Done when the producer is discarded, so that no task waits for an acknowledgement any longer.
        self._discarded = asyncio.get_running_loop().create_future()

    async def start(self, timeout_s: float) -> None:
        """Connect. Raises `PublishFailed`; the producer cannot be used after that."""
        try:
            await with_timeout(timeout_s, self._client.start())
        except BaseException as error:
            # A cancellation must not leave a connection open either.
            await self.discard()
            if not isinstance(error, KafkaError | OSError | TimeoutError):
                raise
            raise PublishFailed(f"no producer could be started: {describe_error(error)}") from error

    async def send(self, messages: Sequence[RoutedMessage], timeout_s: float) -> None:
        """Send messages in order and await every acknowledgement. Raises the first error."""
        by_partition: dict[tuple[str, int], list[Message]] = {}
        for topic, partition, message in messages:
            by_partition.setdefault((topic, partition), []).append(message)
        # A message that is too large raises here, before any message is sent.
        batches = await self._build_all(by_partition)
        sending = asyncio.create_task(self._send_batches(batches))
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait([sending, self._discarded], return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():
                    raise KafkaError("a message of another partition failed, and the producer with it")
                sending.result()
        finally:
            # The result is known already or follows from the first error.
            sending.cancel()
            await asyncio.wait([sending])
            if not sending.cancelled():
                sending.exception()

    async def _send_batches(self, batches: Mapping[tuple[str, int], Sequence[BatchBuilder]]) -> None:
        """Send the batches of each partition in order, and await their acknowledgements."""
        waiting: list[asyncio.Future[object]] = []
        try:
            # aiokafka holds a second batch back until a request has taken the first. The first batches share a request.
            for turn in zip_longest(*batches.values()):
                for target, batch in zip(batches, turn, strict=True):
                    if batch is not None:
                        waiting.append(await self._send_batch(*target, batch))
            await asyncio.gather(*waiting)
        finally:
            for future in waiting:
                future.cancel()

    async def _send_batch(self, topic: str, partition: int, batch: BatchBuilder) -> asyncio.Future[object]:
        """Hand a batch to aiokafka, and return the future of its acknowledgement."""
        try:
            future: asyncio.Future[object] = await self._client.send_batch(batch, topic, partition=partition)
        except (AssertionError, TypeError) as error:
            # aiokafka asserts that the partition exists. A topic that was created again may have fewer partitions, or none yet.
            raise KafkaError(f"the topic {topic} no longer has a partition {partition}") from error
        return future

    async def _build_all(self, messages: Mapping[tuple[str, int], Sequence[Message]]) -> dict[tuple[str, int], list[BatchBuilder]]:
        """Return batches by topic and partition. Many messages are appended and compressed in a thread."""
        limits = {target: self._max_bytes[target[0]] for target in messages}

        def build() -> dict[tuple[str, int], list[BatchBuilder]]:
            return {target: self._build_batches(own, limits[target]) for target, own in messages.items()}

        def build_and_compress() -> dict[tuple[str, int], list[BatchBuilder]]:
            batches = build()
            for batch in chain.from_iterable(batches.values()):
                compress_early(batch)
            return batches

        num_bytes = sum([message.size_bytes for message in chain.from_iterable(messages.values())])
        return build() if num_bytes <= _MAX_BYTES_IN_EVENT_LOOP else await asyncio.to_thread(build_and_compress)

    def _build_batches(self, messages: Sequence[Message], max_bytes: int) -> list[BatchBuilder]:
        """Return batches of messages. One acknowledgement for each batch costs less CPU time than one for each message."""
        batches: list[BatchBuilder] = []
        # Whether a batch may be too large for the topic before it is full for aiokafka.
        is_small = max_bytes < _MAX_BATCH_BYTES
        for message in messages:
            # This check comes before aiokafka takes a sequence number. After a refusal by the broker the producer cannot continue.
            if message.size_bytes > max_bytes:
                raise MessageSizeTooLargeError(f"a message has {message.size_bytes} bytes, and the topic accepts {max_bytes}")
            if not batches or (is_small and _size_with(batches[-1], message) > max_bytes) or not _append(batches[-1], message):
                batches.append(self._client.create_batch())
                _append(batches[-1], message)
        for batch in batches:
            batch.close()
        return batches

    async def discard(self) -> None:
        """Close the producer without flushing and without waiting for a broker. A second call has no effect."""
        if not self._discarded.done():
            self._discarded.set_result(None)
            await discard_producer(self._client)


def _size_with(batch: BatchBuilder, message: Message) -> int:
    """Return the largest uncompressed size of a batch with another message."""
    return int(batch.size()) + message.size_bytes + _RECORD_BYTES + _HEADER_BYTES * len(message.headers)


def _append(batch: BatchBuilder, message: Message) -> bool:
    """Append a message to a batch. Returns False if the batch is full."""
    key, value, headers = message.key, message.value, list(message.headers)
    return batch.append(timestamp=None, key=key, value=value, headers=headers) is not None
