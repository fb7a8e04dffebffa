"""The results of the backfill benchmark as plain values. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.stream.results import ratio

if TYPE_CHECKING:
    from worker.bench.stream.results import LoadResult


@dataclass(frozen=True, slots=True)
class Turn:
    """One live load, with or without a backfill."""

    load: LoadResult
    has_backfill: bool
    #: Backfilled records per second during the load.
    backfill_per_s: float = 0.0


@dataclass(slots=True)
class BackfillResults:
    """All results of one run."""

    machine: dict[str, Any]
    #: Throughput of live records alone; loads are shares of it.
    capacity_per_s: float = math.nan
    turns: list[Turn] = field(default_factory=list)
    #: Live records without all their outputs.
    lost: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def shares(self) -> list[float]:
        """The loads, ascending."""
        return sorted({turn.load.share for turn in self.turns})

    def live_ms(self, share: float, *, has_backfill: bool, percent: int) -> float:
        """Return the median over the turns of a percentile of live latency, in milliseconds; NaN without a turn."""
        turns = [turn for turn in self.turns if turn.load.share == share and turn.has_backfill is has_backfill]
        return statistics.median(getattr(turn.load.latency, f"p{percent}_ms") for turn in turns) if turns else math.nan

    def backfill_per_s(self, share: float) -> float:
        """Return the median of backfilled records per second at a load; NaN without a turn."""
        found = [turn.backfill_per_s for turn in self.turns if turn.load.share == share and turn.has_backfill]
        return statistics.median(found) if found else math.nan

    def ratio(self, share: float, percent: int = 99) -> float:
        """Return live latency with a backfill over that without one."""
        with_backfill, alone = (self.live_ms(share, has_backfill=has_backfill, percent=percent) for has_backfill in (True, False))
        return ratio(with_backfill, alone)

    def summary(self) -> dict[str, Any]:
        """Return the figures by load."""
        return {
            "capacity_per_s": self.capacity_per_s,
            "p99_ratio": {f"{share:.0%}": self.ratio(share) for share in self.shares},
            "p50_ratio": {f"{share:.0%}": self.ratio(share, 50) for share in self.shares},
            "backfill_per_s": {f"{share:.0%}": self.backfill_per_s(share) for share in self.shares},
            "lost": self.lost,
        }
