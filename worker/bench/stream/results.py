"""The results of the stream benchmark as plain values. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.stream.usage import Usage

if TYPE_CHECKING:
    from worker.bench.stream.load_generator import Latency
    from worker.bench.stream.tally import Throughput


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Latency at one offered load."""

    #: Share of the measured capacity.
    share: float
    offered_per_s: float
    #: Answered records over the time from the first due time to the last answer.
    achieved_per_s: float
    latency: Latency
    #: 99th percentile of the sender's own delay, which is part of the latency.
    sender_late_p99_ms: float


@dataclass(frozen=True, slots=True)
class SingleRecords:
    """Latency of single records on an idle worker."""

    #: From the timestamp of the input to that of the last output.
    end_to_end: Latency
    #: Median time in each stage of the worker.
    stages_ms: dict[str, float]
    #: Median of tokenize, wait, infer and encode together.
    inside_p50_ms: float


@dataclass(slots=True)
class Stream:
    """One mode of delivery with one number of workers."""

    delivery: str
    num_workers: int
    threads: int
    start_s: float
    #: Throughput of each part of the backlog.
    rounds: list[Throughput] = field(default_factory=list)
    #: Records per second of the engine without a broker, before each part and, with several parts, after the last.
    engines_per_s: list[float] = field(default_factory=list)
    #: Mean share of the token budget that batches used.
    fill: float = math.nan
    #: During the last part of the backlog: all workers together, and the embedded broker.
    worker: Usage = field(default_factory=Usage)
    broker: Usage | None = None
    loads: list[LoadResult] = field(default_factory=list)
    single: SingleRecords | None = None
    lost: int = 0
    duplicated: int = 0

    @property
    def name(self) -> str:
        """The row of this stream in a table."""
        return f"{self.num_workers} worker{'s' * (self.num_workers > 1)}, {self.delivery.replace('_', ' ')}"

    @property
    def capacity(self) -> Throughput:
        """The throughput of the median part of the backlog."""
        return sorted(self.rounds, key=lambda part: part.messages_per_s)[len(self.rounds) // 2]

    @property
    def vs_engine(self) -> float:
        """The median ratio of a part's throughput to the engine runs before and after it."""
        around = zip(self.engines_per_s, self.engines_per_s[1:] or self.engines_per_s, strict=False)
        ratios = [
            ratio(part.messages_per_s, (before + after) / 2) for part, (before, after) in zip(self.rounds, around, strict=True)
        ]
        return statistics.median(ratios)


@dataclass(frozen=True, slots=True)
class EngineRate:
    """One run of the engine without a broker."""

    messages_per_s: float
    tokens_per_s: float
    description: str
    bare_pass_ms: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tuned baseline."""

    messages_per_s: float
    dtype: str


@dataclass(slots=True)
class StreamResults:
    """All results of one run."""

    machine: dict[str, Any]
    engines: list[EngineRate] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    baseline: Baseline | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def engine_per_s(self) -> float:
        """Median records per second of the engine without a broker."""
        return statistics.median(engine.messages_per_s for engine in self.engines) if self.engines else math.nan

    @property
    def bare_pass_ms(self) -> float:
        """Median time of a single text in the engine, in milliseconds."""
        return statistics.median(engine.bare_pass_ms for engine in self.engines) if self.engines else math.nan

    @property
    def lost(self) -> int:
        """Records without all their outputs."""
        return sum(stream.lost for stream in self.streams)

    @property
    def duplicated(self) -> int:
        """Repeated outputs."""
        return sum(stream.duplicated for stream in self.streams)

    @property
    def vs_baseline(self) -> float:
        """Throughput of the first stream over that of the baseline; NaN without one."""
        return ratio(self.streams[0].capacity.messages_per_s, self.baseline.messages_per_s) if self.baseline else math.nan

    def summary(self) -> dict[str, Any]:
        """Return the figures of the first stream; NaN for a figure that was not measured."""
        first = self.streams[0]
        return {
            "messages_per_s": first.capacity.messages_per_s,
            "tokens_per_s": first.capacity.tokens_per_s,
            "vs_engine": first.vs_engine,
            "vs_baseline": self.vs_baseline,
            **{
                f"p{percent}_ms": {f"{load.share:.0%}": getattr(load.latency, f"p{percent}_ms") for load in first.loads}
                for percent in (50, 95, 99)
            },
            "fill": first.fill,
            "rss_mib": first.worker.peak_rss_mib,
            "start_s": first.start_s,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "single_p50_ms": first.single.end_to_end.p50_ms if first.single else math.nan,
            "single_inside_p50_ms": first.single.inside_p50_ms if first.single else math.nan,
            "bare_pass_p50_ms": self.bare_pass_ms,
        }


def ratio(value: float, reference: float) -> float:
    """Return a ratio; NaN where the reference is 0."""
    return value / reference if reference else math.nan
