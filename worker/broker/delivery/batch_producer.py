"""One producer of Kafka's client, good until its first failure: whole batches out, every acknowledgement awaited.

A send that fails leaves the client unable to say what became of it, and out of step with the broker for that partition; a client
that is stopped in good order waits for brokers that may never answer. So a producer is thrown away, and a new one is made.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidMessageError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)

from worker.broker.patches.compression_level import patch_compression_level
from worker.broker.patches.error_codes import InvalidRecord, UnknownCode
from worker.broker.timeouts import with_timeout
from worker.errors import PublishFailed, describe_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.producer.message_accumulator import BatchBuilder

    from worker.broker.connection.connection import Connection
    from worker.records import Message

# What a broker answers about a message that it will never take, however often the message is sent. The client raises such a class
# only for the answer to a batch of messages: errors of a transaction's other steps end the client's background task.
REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidMessageError,
    InvalidRecord,
    InvalidTimestampError,
    PolicyViolationError,
    UnsupportedForMessageFormatError,
    UnknownCode,
)
_MAX_BATCH_BYTES = 524_288
# What a batch adds to a message at most, and to each of its headers: lengths, a timestamp and an offset.
_RECORD_BYTES, _HEADER_BYTES = 32, 10
# How often the client's background task is told to end before it is left behind.
_MAX_CANCELLATIONS = 3
# A message on its way: topic, partition and content.
RoutedMessage: TypeAlias = "tuple[str, int, Message]"


class BatchProducer:
    """One producer of Kafka's client, good until its first failure."""

    def __init__(self, connection: Connection, *, compression: str | None, max_bytes: Mapping[str, int], **options: Any) -> None:
        """Send to the topics of `max_bytes` no message over what each takes; `options` are added to those of Kafka's client."""
        patch_compression_level()
        self._max_bytes = max_bytes
        self._client = AIOKafkaProducer(
            **connection.options(),
            enable_idempotence=True,
            acks="all",
            compression_type=compression,
            max_batch_size=_MAX_BATCH_BYTES,
            **options,
        )
        # Done once the producer is thrown away: whoever still waits for an acknowledgement stops waiting.
        self._discarded = asyncio.get_running_loop().create_future()

    async def start(self, timeout_s: float) -> None:
        """Connect; raises `PublishFailed`, and is no longer of use then."""
        try:
            await with_timeout(timeout_s, self._client.start())
        except BaseException as error:
            # Whoever is being cancelled leaves no connection behind either.
            await self.discard()
            if not isinstance(error, KafkaError | OSError | TimeoutError):
                raise
            raise PublishFailed(f"no producer could be started: {describe_error(error)}") from error

    async def send(self, addressed: Sequence[RoutedMessage], timeout_s: float) -> None:
        """Send in order and await every acknowledgement; raises what any of them raised."""
        places: dict[tuple[str, int], list[Message]] = {}
        for topic, partition, it in addressed:
            places.setdefault((topic, partition), []).append(it)
        # Refused before anything is sent.
        batches = {place: self._batches(messages, self._max_bytes[place[0]]) for place, messages in places.items()}
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
        except (AssertionError, TypeError) as error:
            # The client asserts that the partition exists; a topic that was made anew may have fewer partitions, or none yet.
            raise KafkaError(f"there is no partition {partition} of {topic} any more") from error
        finally:
            for future in waiting:
                future.cancel()

    def _batches(self, messages: Sequence[Message], max_bytes: int) -> list[BatchBuilder]:
        """Fill batches ourselves: one acknowledgement for each costs the event loop far less than one for each message."""
        batches: list[BatchBuilder] = []
        # Whether a batch may be too large for the topic before it is full for the client.
        is_small = max_bytes < _MAX_BATCH_BYTES
        for it in messages:
            # Our check comes before a sequence number is taken; the broker's comes after, and wedges the producer.
            if it.size_bytes > max_bytes:
                raise MessageSizeTooLargeError(f"a message of {it.size_bytes} bytes, and the topic takes {max_bytes}")
            if not batches or (is_small and _size_with(batches[-1], it) > max_bytes) or not _is_added(batches[-1], it):
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
        task = None if sender is None else sender.sender_task
        if task is not None:
            task.cancel()
        # Twice: its tasks may open a connection while those that are there are closed.
        await _close(client)
        for _ in range(_MAX_CANCELLATIONS):
            if task is None or task.done():
                break
            # Cancelled once, the client's task waits for its own tasks, of which one may look for a coordinator for ever.
            task.cancel()
            await asyncio.wait([task], timeout=1)
        await _close(client)
        # Batches that never left tell it to waiters that nobody has: a failure that nobody asks for is logged as lost.
        for queued in client._message_accumulator._batches.values():  # noqa: SLF001  the same
            for batch in queued:
                if batch._drain_waiter.done():  # noqa: SLF001  the same
                    batch._drain_waiter.exception()  # noqa: SLF001  the same


async def _close(client: AIOKafkaProducer) -> None:
    """Close a client's connections, within a bound."""
    # Whoever discards is often being cancelled, or fails already: what cannot be closed in time goes with its object.
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        await with_timeout(5, client.client.close())


def _size_with(batch: BatchBuilder, message: Message) -> int:
    """Return what a batch may have, uncompressed, with another message in it."""
    return int(batch.size()) + message.size_bytes + _RECORD_BYTES + _HEADER_BYTES * len(message.headers)


def _is_added(batch: BatchBuilder, message: Message) -> bool:
    """Add a message to a batch; False where it is full."""
    key, value, headers = message.key, message.value, list(message.headers)
    return batch.append(timestamp=None, key=key, value=value, headers=headers) is not None
