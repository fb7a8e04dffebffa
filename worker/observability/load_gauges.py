"""Gauges of the backlog, in tokens and in seconds. Part of the metrics page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry

    ByPartition = Mapping[tuple[str, int], float]


class LoadGauges:
    """Gauges of the latest load estimate, without revoked partitions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the gauges."""
        self._registry = registry
        # An autoscaler divides this by the capacity if texts differ in length.
        self._tokens = Gauge(
            "gist_backlog_tokens",
            "Tokens between what is published and the partition's end; estimated for records that were not read yet.",
            ["topic", "partition"],
            registry=registry,
        )
        # A day: the partition has work without progress. Far above the others: it is hot, and more replicas do not help.
        self._seconds = Gauge(
            "gist_backlog_drain_seconds",
            "Seconds until the partition is drained at its present speed, a day at most; 0 when idle.",
            ["topic", "partition"],
            registry=registry,
        )
        # These two are shown once they are known, for a zero would say that nothing waits, or that nothing can be done.
        self._worker_seconds = Gauge(
            "gist_worker_backlog_drain_seconds",
            "Seconds until all partitions of this worker are drained at its present speed, a day at most; 0 when idle.",
            registry=None,
        )
        # Differs between replicas: they do not have equal cores to themselves.
        self._capacity = Gauge("gist_capacity_tokens_per_second", "Tokens for each second that had work.", registry=None)
        # Those that have come to be known.
        self._known: set[Gauge] = set()

    def show(
        self, *, lag_tokens: ByPartition, seconds: ByPartition, worker_seconds: float | None, capacity_per_s: float | None
    ) -> None:
        """Show what waits in each partition of ours, and in all of them; what is not known yet is not shown."""
        for gauge, values in ((self._tokens, lag_tokens), (self._seconds, seconds)):
            gauge.clear()
            for (topic, index), value in values.items():
                gauge.labels(topic, str(index)).set(value)
        for gauge, known in ((self._worker_seconds, worker_seconds), (self._capacity, capacity_per_s)):
            if known is not None:
                if gauge not in self._known:
                    self._registry.register(gauge)
                    self._known.add(gauge)
                gauge.set(known)
