"""One page of metrics for all replicas, each sample with the label `replica`. Pure.

A sum over the label is the value of a single worker with the same load. A gauge that must not be summed has a value for each
replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LABEL = "replica"


def merged(expositions: Mapping[int, str], own: Iterable[Metric] = ()) -> bytes:
    """Return one page from the pages of replicas, by number, and own metrics; raises `ValueError` if a page is malformed."""
    families: dict[str, Metric] = {metric.name: metric for metric in own}
    for number, text in sorted(expositions.items()):
        for found in text_string_to_metric_families(text):
            family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
            for sample in found.samples:
                family.add_sample(sample.name, {**sample.labels, LABEL: str(number)}, sample.value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families.values()))
    return generate_latest(registry)


class _Collected(Collector):
    """Yields metrics that were collected before."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield each family."""
        yield from self._families
