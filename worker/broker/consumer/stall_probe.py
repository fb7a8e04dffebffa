"""Asks the brokers now and then where partitions end, past the client's background tasks, and says so where those hang."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from worker.broker.consumer.stall_detector import StallDetector
from worker.broker.timeouts import with_timeout
from worker.errors import ConsumerBroken

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from worker.broker.consumer.fetcher import Fetcher, OnEvent
    from worker.records import Partition

# How long the brokers may take to say where partitions end, in seconds.
_TIMEOUT_S = 15.0


class StallProbe:
    """Watches over one client after the other; `check` is called with every poll, and returns at once."""

    def __init__(self, on_event: OnEvent, *, interval_s: float, limit_s: float) -> None:
        """Look every `interval_s`; a partition that has stood still for `limit_s` though it is behind and has room is stuck."""
        self._on_event = on_event
        self._interval_s = interval_s
        self._watchdog = StallDetector(limit_s=limit_s)
        # The question where partitions end, while it is open.
        self._asking: asyncio.Task[Mapping[Partition, int] | None] | None = None
        # When the next one is due, in seconds of a monotonic clock.
        self.due_s = 0.0

    def check(self, client: AIOKafkaConsumer, fetcher: Fetcher, wanted: Collection[Partition]) -> None:
        """Ask, or take in what was answered; raises `ConsumerBroken` where the client hangs. The `wanted` have room."""
        self._watchdog.asked_for(wanted)
        now_s = time.monotonic()
        if self._asking is None:
            if wanted and now_s >= self.due_s:
                self._asking = asyncio.create_task(_ends(client, list(wanted)))
            return
        if not self._asking.done():
            return
        ends, self._asking, self.due_s = self._asking.result(), None, now_s + self._interval_s
        # While one partition is searched for what cannot be read, the others wait.
        if ends is None or fetcher.is_searching:
            self._watchdog.unknown()
        elif stuck := self._watchdog.stuck(fetcher.positions(), ends, wanted, now_s):
            names = [str(it) for it in stuck]
            self._on_event("fetch_stuck", partitions=names)
            raise ConsumerBroken(f"the client hangs: there is more in {', '.join(names)}, and nothing comes")

    def stop(self) -> None:
        """Ask nothing more until the next check, of another client."""
        self._watchdog.unknown()
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None


async def _ends(client: AIOKafkaConsumer, partitions: Sequence[Partition]) -> Mapping[Partition, int] | None:
    """Return where partitions end, None where the brokers do not say."""
    places = {TopicPartition(it.topic, it.index): it for it in partitions}
    try:
        ends = await with_timeout(_TIMEOUT_S, client.end_offsets(list(places)))
    except (KafkaError, TimeoutError):
        return None
    return {places[where]: end for where, end in ends.items()}
