"""Asks the brokers for the ends of partitions at intervals, and reports a consumer that does not fetch."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from worker.broker.consumer.stall_detector import StallDetector
from worker.broker.events import BrokerEvent
from worker.broker.timeouts import with_timeout
from worker.errors import ConsumerBroken

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from worker.broker.consumer.fetcher import Fetcher
    from worker.broker.events import OnEvent
    from worker.records import Partition

# Bound of a request for the ends of partitions, in seconds.
_TIMEOUT_S = 15.0


class StallProbe:
    """Probes one consumer after the other. The caller calls `check` with every poll; `check` returns at once."""

    def __init__(self, on_event: OnEvent, *, interval_s: float, limit_s: float) -> None:
        """Ask every `interval_s`. A partition is stalled after `limit_s` without a move."""
        self._on_event = on_event
        self._interval_s = interval_s
        self._detector = StallDetector(limit_s=limit_s)
        # The open request for the ends, if there is one.
        self._request: asyncio.Task[Mapping[Partition, int] | None] | None = None
        # When the next request is due, in seconds of a monotonic clock.
        self.due_s = 0.0

    def check(self, consumer: AIOKafkaConsumer, fetcher: Fetcher, wanted: Collection[Partition]) -> None:
        """Send a request or evaluate its response. The `wanted` partitions accept records.

        Raises `ConsumerBroken` if the consumer does not fetch.
        """
        self._detector.retain(wanted)
        now_s = time.monotonic()
        if self._request is None:
            if wanted and now_s >= self.due_s:
                self._request = asyncio.create_task(_fetch_ends(consumer, list(wanted)))
            return
        if not self._request.done():
            return
        ends, self._request, self.due_s = self._request.result(), None, now_s + self._interval_s
        # While the fetcher searches one partition for an unreadable batch, the others wait.
        if ends is None or fetcher.is_searching:
            self._detector.reset()
        elif stalled := self._detector.find_stalled(fetcher.positions(), ends, wanted, now_s):
            names = [str(partition) for partition in stalled]
            self._on_event(BrokerEvent.FETCH_STUCK, partitions=names)
            raise ConsumerBroken(f"the Kafka client hangs: it returns no records of {', '.join(names)}, whose logs have more")

    def stop(self) -> None:
        """Cancel the open request. The next check may be of another consumer."""
        self._detector.reset()
        if self._request is not None:
            self._request.cancel()
            self._request = None


async def _fetch_ends(consumer: AIOKafkaConsumer, partitions: Sequence[Partition]) -> Mapping[Partition, int] | None:
    """Return the ends of partitions, or None if the brokers do not answer."""
    keys = {TopicPartition(partition.topic, partition.index): partition for partition in partitions}
    try:
        ends = await with_timeout(_TIMEOUT_S, consumer.end_offsets(list(keys)))
    except (KafkaError, TimeoutError):
        return None
    return {keys[key]: end for key, end in ends.items()}
