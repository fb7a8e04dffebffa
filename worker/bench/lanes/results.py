"""What a run of the benchmark found, as plain values, and the few figures that one compares. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.bench.stream.results import LoadResult


@dataclass(frozen=True, slots=True)
class Turn:
    """A live load that was offered for some seconds, with a backfill beside it or without."""

    load: LoadResult
    has_backfill: bool
    #: Backfilled messages a second, meanwhile; 0 without.
    backfill_per_s: float = 0.0


@dataclass(slots=True)
class LanesResults:
    """Everything that was measured in one run, on one machine, with one corpus."""

    machine: dict[str, Any]
    #: Of the live lane alone, in messages a second: what the loads are shares of.
    capacity_per_s: float = math.nan
    turns: list[Turn] = field(default_factory=list)
    #: Live messages without all their outputs.
    lost: int = 0
    #: What a reader must know of how it was measured.
    notes: list[str] = field(default_factory=list)

    @property
    def shares(self) -> list[float]:
        """The loads, ascending."""
        return sorted({it.load.share for it in self.turns})

    def live_ms(self, share: float, *, has_backfill: bool, percent: int) -> float:
        """Return the median, over the turns, of a percentile of the live messages' latency, in milliseconds."""
        found = [
            float(getattr(it.load.latency, f"p{percent}_ms"))
            for it in self.turns
            if it.load.share == share and it.has_backfill is has_backfill
        ]
        return statistics.median(found) if found else math.nan

    def backfill_per_s(self, share: float) -> float:
        """Return the median of the backfilled messages a second at a load."""
        found = [it.backfill_per_s for it in self.turns if it.load.share == share and it.has_backfill]
        return statistics.median(found) if found else math.nan

    def ratio(self, share: float, percent: int = 99) -> float:
        """Return how many times as long a live message waits with a backfill beside it."""
        alone = self.live_ms(share, has_backfill=False, percent=percent)
        return self.live_ms(share, has_backfill=True, percent=percent) / alone if alone else math.nan

    def summary(self) -> dict[str, Any]:
        """Return the figures that one compares with other runs, by load."""
        return {
            "capacity_per_s": self.capacity_per_s,
            "p99_ratio": {f"{it:.0%}": self.ratio(it) for it in self.shares},
            "p50_ratio": {f"{it:.0%}": self.ratio(it, 50) for it in self.shares},
            "backfill_per_s": {f"{it:.0%}": self.backfill_per_s(it) for it in self.shares},
            "lost": self.lost,
        }
