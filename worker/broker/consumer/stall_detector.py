"""Detect a consumer that does not fetch: its position does not advance, but the log has more records. Pure: time is an argument.

A background task of aiokafka that waits without end looks like an idle topic. The log end offset shows the difference; the worker
fetches the log end offset in a separate request. A partition is stalled if its log end offset is larger than its position, the
partition accepts records all the time, and the position does not advance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from worker.records import Partition


class StallDetector:
    """Compares the positions of partitions with their log end offsets."""

    def __init__(self, *, limit_s: float) -> None:
        """Report a partition whose position stays unchanged for `limit_s`. Each next report there takes twice as long."""
        self._limit_s = limit_s
        # The position of the last report of each partition, and the time until the next report.
        # The time doubles, so that a slow batch can complete.
        self._alarms: dict[Partition, tuple[int, float]] = {}
        # The position of each partition with consumer lag, and the start of its time, in seconds of a monotonic clock.
        self._behind: dict[Partition, tuple[int, float]] = {}

    def retain(self, partitions: Collection[Partition]) -> None:
        """Restart the time of all other partitions, because these partitions do not accept records now."""
        self._behind = {partition: since for partition, since in self._behind.items() if partition in partitions}

    def find_stalled(
        self, positions: Mapping[Partition, int], ends: Mapping[Partition, int], wanted: Collection[Partition], now_s: float
    ) -> list[Partition]:
        """Return the stalled partitions among the `wanted`, which accept records."""
        behind = {}
        for partition in wanted:
            if (position := positions.get(partition)) is None or partition not in ends:
                continue
            last_position, since_s = self._behind.get(partition, (position, now_s))
            if position < ends[partition]:
                behind[partition] = (position, since_s if last_position == position else now_s)
        self._behind = behind
        stalled = [
            partition
            for partition, (position, since_s) in behind.items()
            if now_s - since_s >= self._current_limit_s(partition, position)
        ]
        for partition in stalled:
            position, _ = behind[partition]
            self._alarms[partition] = position, 2 * self._current_limit_s(partition, position)
        return stalled

    def _current_limit_s(self, partition: Partition, position: int) -> float:
        last_position, limit_s = self._alarms.get(partition, (-1, self._limit_s))
        return limit_s if position <= last_position else self._limit_s

    def reset(self) -> None:
        """Restart the time of all partitions, because the log end offsets are unknown."""
        self._behind.clear()
