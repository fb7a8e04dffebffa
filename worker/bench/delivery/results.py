"""The results of the delivery benchmark as plain values; exactly-once is compared with adjacent at-least-once runs. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from worker.bench.stream.results import ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.bench.stream.load_generator import Latency


@dataclass(frozen=True, slots=True)
class DeliveryMode:
    """A delivery with a number of partitions."""

    num_partitions: int
    #: Transaction interval of a partition; None: at-least-once.
    interval_ms: int | None = None

    @property
    def delivery(self) -> str:
        """The value of the setting `delivery`."""
        return "at_least_once" if self.interval_ms is None else "exactly_once"

    @property
    def name(self) -> str:
        """The mode in words."""
        words = "at least once" if self.interval_ms is None else f"exactly once, {self.interval_ms} ms"
        return f"{self.num_partitions} partition{'s' * (self.num_partitions > 1)}, {words}"


@dataclass(frozen=True, slots=True)
class Work:
    """The cost of records, from processor clocks and the worker's metrics."""

    #: Processor milliseconds per record; NaN for a broker elsewhere.
    worker_ms: float
    broker_ms: float
    #: Records per publication of a partition; with exactly-once a publication is a transaction.
    per_publication: float
    #: Mean time of a publication.
    publish_ms: float


@dataclass(frozen=True, slots=True)
class DeliveryRun:
    """One worker: a backlog, then an offered load."""

    mode: DeliveryMode
    start_s: float
    #: Steady throughput under the backlog.
    messages_per_s: float
    backlog: Work
    offered_per_s: float
    #: Under the load, from the due time until a reader of committed records receives the label.
    latency: Latency
    sender_late_p99_ms: float
    load: Work
    lost: int
    #: Repeated outputs.
    duplicated: int


@dataclass(slots=True)
class DeliveryResults:
    """The runs in the order of measurement."""

    machine: dict[str, Any]
    #: The mode that the summary describes.
    main: DeliveryMode
    runs: list[DeliveryRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def modes(self) -> list[DeliveryMode]:
        """The measured modes by partitions and interval, at-least-once first."""
        return sorted({run.mode for run in self.runs}, key=lambda mode: (mode.num_partitions, mode.interval_ms or 0))

    def by_interval(self) -> list[DeliveryMode]:
        """Return the exactly-once modes with the main number of partitions."""
        return [mode for mode in self.modes if mode.interval_ms and mode.num_partitions == self.main.num_partitions]

    def by_partitions(self) -> list[DeliveryMode]:
        """Return the exactly-once modes with the main interval."""
        return [mode for mode in self.modes if mode.interval_ms == self.main.interval_ms]

    def median(self, mode: DeliveryMode, figure: Callable[[DeliveryRun], float]) -> float:
        """Return the median of a figure over the runs of a mode; NaN without a run."""
        return _median(figure(run) for run in self.runs if run.mode == mode)

    def ratio(self, mode: DeliveryMode, figure: Callable[[DeliveryRun], float] = lambda run: run.messages_per_s) -> float:
        """Return the median ratio of a figure to that of the adjacent at-least-once runs."""
        ratios = []
        for number, run in enumerate(self.runs):
            if run.mode == mode and (references := self.adjacent_runs(number)):
                ratios.append(ratio(figure(run), statistics.fmean(map(figure, references))))
        return _median(ratios)

    def adjacent_runs(self, number: int) -> list[DeliveryRun]:
        """Return the at-least-once runs right before and after a run, with the same number of partitions."""
        mode = DeliveryMode(self.runs[number].mode.num_partitions)
        neighbours = self.runs[max(0, number - 1) : number] + self.runs[number + 1 : number + 2]
        return [run for run in neighbours if run.mode == mode]

    @property
    def lost(self) -> int:
        """Records without all their outputs."""
        return sum(run.lost for run in self.runs)

    def duplicated(self, delivery: str) -> int:
        """Return the repeated outputs of a delivery."""
        return sum(run.duplicated for run in self.runs if run.mode.delivery == delivery)

    def summary(self) -> dict[str, Any]:
        """Return the figures of the main mode, by interval and by partitions; NaN for a figure that was not measured."""
        reference = DeliveryMode(self.main.num_partitions)
        return {
            "exactly_once_ratio": self.ratio(self.main),
            "num_rounds": sum(run.mode == self.main for run in self.runs),
            "interval_ms": self.main.interval_ms,
            "partitions": self.main.num_partitions,
            "messages_per_s": self.median(self.main, lambda run: run.messages_per_s),
            "at_least_once_messages_per_s": self.median(reference, lambda run: run.messages_per_s),
            "worker_cpu_ratio": self.ratio(self.main, lambda run: run.backlog.worker_ms),
            "broker_cpu_ratio": self.ratio(self.main, lambda run: run.backlog.broker_ms),
            "worker_cpu_ratio_at_load": self.ratio(self.main, lambda run: run.load.worker_ms),
            "broker_cpu_ratio_at_load": self.ratio(self.main, lambda run: run.load.broker_ms),
            "ratio_by_interval_ms": {str(mode.interval_ms): self.ratio(mode) for mode in self.by_interval()},
            "ratio_by_partitions": {str(mode.num_partitions): self.ratio(mode) for mode in self.by_partitions()},
            "p50_ms_by_interval_ms": self._latency_by_interval("p50_ms"),
            "p99_ms_by_interval_ms": self._latency_by_interval("p99_ms"),
            "at_least_once_p50_ms": self.median(reference, lambda run: run.latency.p50_ms),
            "at_least_once_p99_ms": self.median(reference, lambda run: run.latency.p99_ms),
            "lost": self.lost,
            "exactly_once_duplicated": self.duplicated("exactly_once"),
            "at_least_once_duplicated": self.duplicated("at_least_once"),
        }

    def _latency_by_interval(self, percentile: str) -> dict[str, float]:
        figure = attrgetter(f"latency.{percentile}")
        return {str(mode.interval_ms): self.median(mode, figure) for mode in self.by_interval()}


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan
