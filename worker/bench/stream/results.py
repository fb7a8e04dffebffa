"""What a run of the benchmark found, as plain values, and the few figures that one compares. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.stream.usage import Usage

if TYPE_CHECKING:
    from worker.bench.stream.offered import Latency
    from worker.bench.stream.tally import Throughput


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One point of the curve: a load that was offered whatever the worker did, and what came of it."""

    #: Of the measured capacity.
    share: float
    offered_per_s: float
    #: Messages answered, over the time from the first that was due to the last answer.
    achieved_per_s: float
    latency: Latency
    #: How late the sender itself was, 99 of 100 times at most; part of the latency.
    sender_late_p99_ms: float


@dataclass(frozen=True, slots=True)
class Trickle:
    """Single messages to an idle worker."""

    #: From the message's timestamp to its last output's.
    end_to_end: Latency
    #: The median time in each step of the worker.
    stages_ms: dict[str, float]
    #: The median of tokenizing, the wait for company, inference and encoding together.
    inside_p50_ms: float


@dataclass(slots=True)
class Stream:
    """One way to run the workers."""

    delivery: str
    num_workers: int
    threads: int
    start_s: float
    #: How fast each part of the backlog was done.
    rounds: list[Throughput] = field(default_factory=list)
    #: Messages a second of the engine without a broker before each part, and after the last where it ran there.
    engines_per_s: list[float] = field(default_factory=list)
    #: Tokens of a batch over its budget.
    fill: float = math.nan
    #: Under the last part of the backlog, all workers together, and the broker; of a broker elsewhere nothing is known.
    worker: Usage = field(default_factory=Usage)
    broker: Usage | None = None
    loads: list[LoadResult] = field(default_factory=list)
    trickle: Trickle | None = None
    lost: int = 0
    duplicated: int = 0

    @property
    def capacity(self) -> Throughput:
        """The speed of the median part of the backlog."""
        return sorted(self.rounds, key=lambda it: it.messages_per_s)[len(self.rounds) // 2]

    @property
    def vs_engine(self) -> float:
        """What is left of the engine's speed: the median over the parts, each against the runs before and after it."""
        around = zip(self.engines_per_s, self.engines_per_s[1:] or self.engines_per_s, strict=False)
        shares = [_ratio(it.messages_per_s, (before + after) / 2) for it, (before, after) in zip(self.rounds, around, strict=True)]
        return statistics.median(shares)


@dataclass(frozen=True, slots=True)
class EngineRate:
    """One run of the engine without a broker."""

    messages_per_s: float
    tokens_per_s: float
    description: str
    bare_pass_ms: float


@dataclass(frozen=True, slots=True)
class Peer:
    """The best tuned peer."""

    messages_per_s: float
    dtype: str


@dataclass(slots=True)
class StreamResults:
    """Everything that was measured in one run, on one machine, with one corpus."""

    machine: dict[str, Any]
    engines: list[EngineRate] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    peer: Peer | None = None
    #: What a reader must know of how it was measured.
    notes: list[str] = field(default_factory=list)

    @property
    def engine_per_s(self) -> float:
        """Messages a second of the engine without a broker: the median of its runs."""
        return statistics.median(it.messages_per_s for it in self.engines) if self.engines else math.nan

    @property
    def bare_pass_ms(self) -> float:
        """The time of one text alone, in milliseconds: the median of the engine's runs."""
        return statistics.median(it.bare_pass_ms for it in self.engines) if self.engines else math.nan

    @property
    def lost(self) -> int:
        """Messages without all their outputs, over everything."""
        return sum(it.lost for it in self.streams)

    def summary(self) -> dict[str, Any]:
        """Return the figures of the first way to run the workers that one compares with other runs; None where one is missing."""
        first = self.streams[0]
        values = {
            "messages_per_s": first.capacity.messages_per_s,
            "tokens_per_s": first.capacity.tokens_per_s,
            "vs_engine": first.vs_engine,
            "broker_cost": 1 - first.vs_engine,
            "vs_peer": _ratio(first.capacity.messages_per_s, self.peer.messages_per_s) if self.peer else None,
            "p50_ms": {f"{it.share:.0%}": it.latency.p50_ms for it in first.loads},
            "p95_ms": {f"{it.share:.0%}": it.latency.p95_ms for it in first.loads},
            "p99_ms": {f"{it.share:.0%}": it.latency.p99_ms for it in first.loads},
            "fill": first.fill,
            "rss_mib": first.worker.peak_rss_mib,
            "start_s": first.start_s,
            "lost": self.lost,
            "duplicated": sum(it.duplicated for it in self.streams),
            "trickle_p50_ms": first.trickle.end_to_end.p50_ms if first.trickle else None,
            "trickle_inside_p50_ms": first.trickle.inside_p50_ms if first.trickle else None,
            "bare_pass_p50_ms": self.bare_pass_ms,
        }
        return {name: None if isinstance(it, float) and math.isnan(it) else it for name, it in values.items()}


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else math.nan
