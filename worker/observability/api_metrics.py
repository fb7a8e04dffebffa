"""Metrics of the HTTP endpoint for queries. Part of the metrics page of a worker with this endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ApiMetrics:
    """Counts the requests of the HTTP endpoint for queries."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics in `registry`."""
        # Status 429: raise the bound, or add workers. Status 499: the client went away before its answer.
        self._requests = Counter(
            "gist_api_requests", "Requests of HTTP clients, by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "gist_api_request_duration_seconds",
            "From the headers of a request to its answer.",
            ["route"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        # Near GIST_API_MAX_QUEUED_TEXTS: further requests get status 429.
        self._texts = Gauge("gist_api_texts_in_flight", "Texts of HTTP clients that are not answered.", registry=registry)

    def count_texts(self, count: Callable[[], int]) -> None:
        """Read the number of texts in flight from `count`."""
        self._texts.set_function(count)

    def invalid_request(self, status: int) -> None:
        """Count a request that cannot be parsed, and therefore has no route and no duration."""
        self._requests.labels("invalid", str(status)).inc()

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is a known path or `other`."""
        # The look-up of labels takes more time than the counting.
        if (route, status) not in self._known:
            self._known[route, status] = self._requests.labels(route, str(status)), self._seconds.labels(route)
        requests, duration = self._known[route, status]
        requests.inc()
        duration.observe(seconds)
