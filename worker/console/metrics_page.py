"""Reads the metrics page of a worker, and the differences between two pages. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Self, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Labels: TypeAlias = "tuple[tuple[str, str], ...]"


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """The samples of one page, by name and labels."""

    samples: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a page in the text format of Prometheus. Raises `ValueError` for another text."""
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = float(sample.value)
        return cls(samples)

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a metric that have these labels; 0 without samples."""
        wanted = set(labels.items())
        return sum(value for own, value in self.samples.get(name, {}).items() if wanted <= set(own))

    def maximum(self, name: str) -> float | None:
        """Return the largest sample of a metric, or None without samples."""
        return max(self.samples.get(name, {}).values(), default=None)

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of a metric by the value of one label."""
        sums: dict[str, float] = {}
        for own, value in self.samples.get(name, {}).items():
            key = dict(own).get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def by_partition(self, name: str) -> dict[tuple[str, int], float]:
        """Return the samples of a metric by topic and partition."""
        found = {}
        for own, value in self.samples.get(name, {}).items():
            labels = dict(own)
            if labels.get("partition", "").isdigit():
                found[labels.get("topic", ""), int(labels["partition"])] = value
        return found

    def since(self, earlier: MetricsPage, name: str, **labels: str) -> float:
        """Return the increase of a counter since an earlier page. After a restart the counter starts again at 0."""
        now, before = self.sum(name, **labels), earlier.sum(name, **labels)
        return now - before if now >= before else now

    def buckets(self, name: str) -> dict[float, float]:
        """Return the cumulative counts of a histogram by upper bound, over all labels."""
        return {float(bound): count for bound, count in self.by_label(f"{name}_bucket", "le").items()}


def subtract_buckets(now: Mapping[float, float], before: Mapping[float, float]) -> dict[float, float]:
    """Return the increase of cumulative counts; all counts of `now` if the worker has restarted."""
    is_restarted = any(now.get(bound, 0.0) < count for bound, count in before.items())
    return dict(now) if is_restarted else {bound: count - before.get(bound, 0.0) for bound, count in now.items()}


def add_buckets(histograms: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Return the sums of cumulative counts by bound."""
    total: dict[float, float] = {}
    for buckets in histograms:
        for bound, count in buckets.items():
            total[bound] = total.get(bound, 0.0) + count
    return total


def estimate_quantile(buckets: Mapping[float, float], quantile: float) -> float | None:
    """Return a quantile of a histogram, linear within a bucket as in Prometheus; None without observations."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = quantile * buckets[bounds[-1]]
    for lower, upper in pairwise([0.0, *bounds]):
        below = buckets.get(lower, 0.0)
        if buckets[upper] >= rank:
            if upper == float("inf"):
                return lower
            inside = buckets[upper] - below
            return upper if inside <= 0 else lower + (upper - lower) * (rank - below) / inside
    return None
