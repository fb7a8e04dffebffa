"""Notices what hangs: a partition that stands still although there is more to read. Pure: what time it is is an argument.

A background task of the client that waits for ever looks like an idle topic. The difference is the end of the log, which we ask for
ourselves: one that is known to be ahead, of a partition that has had room all the while, and still nothing moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from worker.records import Partition


class StallDetector:
    """Is told which partitions have room and, now and then, how far each is and where it ends."""

    def __init__(self, *, limit_s: float) -> None:
        """Take a partition for stuck that has stood still for `limit_s`; twice as long each time that it did not help."""
        self._limit_s = limit_s
        # Where a partition was stuck, and how long it may stand there now: what is long in coming must come at last.
        self._alarms: dict[Partition, tuple[int, float]] = {}
        # Partitions that are behind: where each stands, and since when that is known, in seconds of a monotonic clock.
        self._behind: dict[Partition, tuple[int, float]] = {}

    def asked_for(self, partitions: Collection[Partition]) -> None:
        """Forget those that are not among these: one that had no room in between has to begin anew."""
        self._behind = {it: since for it, since in self._behind.items() if it in partitions}

    def stuck(
        self, positions: Mapping[Partition, int], ends: Mapping[Partition, int], wanted: Collection[Partition], now_s: float
    ) -> list[Partition]:
        """Take in where partitions stand and end, and return those of the `wanted`, which have room, that stood still too long."""
        behind = {}
        for it in wanted:
            if (position := positions.get(it)) is None or it not in ends:
                continue
            last_position, since_s = self._behind.get(it, (position, now_s))
            if position < ends[it]:
                behind[it] = (position, since_s if last_position == position else now_s)
        self._behind = behind
        stuck = [it for it, (position, since_s) in behind.items() if now_s - since_s >= self._allowed_s(it, position)]
        for it in stuck:
            self._alarms[it] = behind[it][0], 2 * self._allowed_s(it, behind[it][0])
        return stuck

    def _allowed_s(self, partition: Partition, position: int) -> float:
        last_position, allowed_s = self._alarms.get(partition, (-1, self._limit_s))
        return allowed_s if position <= last_position else self._limit_s

    def unknown(self) -> None:
        """Take in that the ends could not be asked for: then it is not the client that hangs."""
        self._behind.clear()
