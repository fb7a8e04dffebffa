"""What each run of the worker brought, and how exactly once compares with the at-least-once runs that stand beside it. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.bench.stream.offered import Latency


@dataclass(frozen=True, slots=True)
class DeliveryMode:
    """One way to run the worker."""

    num_partitions: int
    #: From the begin of a partition's transaction to that of the next; None: at least once.
    interval_ms: int | None = None

    @property
    def delivery(self) -> str:
        """As the setting says it."""
        return "at_least_once" if self.interval_ms is None else "exactly_once"

    @property
    def name(self) -> str:
        """For people."""
        what = "at least once" if self.interval_ms is None else f"exactly once, {self.interval_ms} ms"
        return f"{self.num_partitions} partition{'s' * (self.num_partitions > 1)}, {what}"


@dataclass(frozen=True, slots=True)
class Work:
    """What some messages took, from the processes' clocks and the worker's counters."""

    #: Processor milliseconds for each message; of a broker elsewhere nothing is known.
    worker_ms: float
    broker_ms: float
    #: Messages for each publication of a partition: a transaction, or what is sent at once.
    per_publication: float
    #: The mean time of a publication.
    publish_ms: float


@dataclass(frozen=True, slots=True)
class DeliveryRun:
    """One worker: a backlog, then an offered load."""

    way: DeliveryMode
    start_s: float
    #: Under the backlog, in the steady state.
    messages_per_s: float
    backlog: Work
    offered_per_s: float
    #: Under the load, from the time at which a message was due until a reader of what is committed has its label.
    latency: Latency
    sender_late_p99_ms: float
    load: Work
    lost: int
    #: Outputs that came again.
    duplicated: int


@dataclass(slots=True)
class DeliveryResults:
    """The runs in the order in which they were measured."""

    machine: dict[str, Any]
    #: The way that is judged.
    main: DeliveryMode
    runs: list[DeliveryRun] = field(default_factory=list)
    #: What a reader must know of how it was measured.
    notes: list[str] = field(default_factory=list)

    @property
    def ways(self) -> list[DeliveryMode]:
        """Those that were measured, at least once before exactly once, by partitions and interval."""
        return sorted({it.way for it in self.runs}, key=lambda it: (it.num_partitions, it.interval_ms or 0))

    def median(self, way: DeliveryMode, figure: Callable[[DeliveryRun], float]) -> float:
        """Return the median of a figure over the runs of a way; not-a-number where it was never measured."""
        return _median(figure(it) for it in self.runs if it.way == way)

    def ratio(self, way: DeliveryMode, figure: Callable[[DeliveryRun], float] = lambda run: run.messages_per_s) -> float:
        """Return the median ratio of a figure to that of at least once, each taken between runs that stand beside each other."""
        ratios = []
        for number, it in enumerate(self.runs):
            if it.way == way and (beside := self.beside(number)):
                expected = statistics.fmean(figure(its) for its in beside)
                ratios.append(figure(it) / expected if expected else math.nan)
        return _median(ratios)

    def beside(self, number: int) -> list[DeliveryRun]:
        """Return the at-least-once runs right before and right after a run, with as many partitions."""
        way = DeliveryMode(self.runs[number].way.num_partitions)
        neighbours = self.runs[max(0, number - 1) : number] + self.runs[number + 1 : number + 2]
        return [it for it in neighbours if it.way == way]

    @property
    def lost(self) -> int:
        """Messages without all their outputs, over everything."""
        return sum(it.lost for it in self.runs)

    def duplicated(self, delivery: str) -> int:
        """Return how many outputs of a way of delivery came again."""
        return sum(it.duplicated for it in self.runs if it.way.delivery == delivery)

    def summary(self) -> dict[str, Any]:
        """Return the figures that one compares with other runs; None where one is missing."""
        exact = [it for it in self.ways if it.interval_ms is not None]
        by_interval = {str(it.interval_ms): it for it in exact if it.num_partitions == self.main.num_partitions}
        by_partitions = {str(it.num_partitions): it for it in exact if it.interval_ms == self.main.interval_ms}
        ratio = self.ratio(self.main)
        figures = {
            "exactly_once_ratio": ratio,
            "exactly_once_cost": 1 - ratio,
            "num_rounds": sum(it.way == self.main for it in self.runs),
            "interval_ms": self.main.interval_ms,
            "partitions": self.main.num_partitions,
            "messages_per_s": self.median(self.main, lambda it: it.messages_per_s),
            "at_least_once_messages_per_s": self.median(DeliveryMode(self.main.num_partitions), lambda it: it.messages_per_s),
            "worker_cpu_ratio": self.ratio(self.main, lambda it: it.backlog.worker_ms),
            "broker_cpu_ratio": self.ratio(self.main, lambda it: it.backlog.broker_ms),
            "worker_cpu_ratio_at_load": self.ratio(self.main, lambda it: it.load.worker_ms),
            "broker_cpu_ratio_at_load": self.ratio(self.main, lambda it: it.load.broker_ms),
            "ratio_by_interval_ms": {name: self.ratio(it) for name, it in by_interval.items()},
            "ratio_by_partitions": {name: self.ratio(it) for name, it in by_partitions.items()},
            "p50_ms_by_interval_ms": {name: self.median(it, lambda run: run.latency.p50_ms) for name, it in by_interval.items()},
            "p99_ms_by_interval_ms": {name: self.median(it, lambda run: run.latency.p99_ms) for name, it in by_interval.items()},
            "at_least_once_p50_ms": self.median(DeliveryMode(self.main.num_partitions), lambda it: it.latency.p50_ms),
            "at_least_once_p99_ms": self.median(DeliveryMode(self.main.num_partitions), lambda it: it.latency.p99_ms),
            "lost": self.lost,
            "exactly_once_duplicated": self.duplicated("exactly_once"),
            "at_least_once_duplicated": self.duplicated("at_least_once"),
        }
        return {name: _nullable(it) for name, it in figures.items()}


def _median(values: Iterable[float]) -> float:
    known = [it for it in values if not math.isnan(it)]
    return statistics.median(known) if known else math.nan


def _nullable(figure: Any) -> Any:
    if isinstance(figure, dict):
        return {name: _nullable(it) for name, it in figure.items()}
    return None if isinstance(figure, float) and math.isnan(figure) else figure
