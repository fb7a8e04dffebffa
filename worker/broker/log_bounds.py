"""The offsets that bound the log of a partition."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.broker.client_internals import fetch_high_watermarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import AIOKafkaConsumer, TopicPartition


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The first and the last offsets of a partition's log."""

    first: int
    #: The last stable offset: the end for readers of committed records.
    end: int
    #: The end for readers of uncommitted records, after the records of open transactions.
    high_watermark: int

    def contains(self, offset: int) -> bool:
        """Tell whether a consumer can start at an offset."""
        return self.first <= offset <= self.high_watermark


async def read_log_bounds(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], timeout_ms: int
) -> dict[TopicPartition, LogBounds]:
    """Return the bounds of partitions. Raises aiokafka's `KafkaError`."""
    # A broker answers the requests of a connection in order, and may hold a fetch for its longest wait: one wait, not three.
    first, end, high_watermark = await asyncio.gather(
        consumer.beginning_offsets(partitions),
        consumer.end_offsets(partitions),
        fetch_high_watermarks(consumer, partitions, timeout_ms),
    )
    return {
        partition: LogBounds(first[partition], end[partition], max(end[partition], high_watermark[partition]))
        for partition in partitions
    }
