"""The results of the scale benchmark as plain values. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.stream.results import ratio

if TYPE_CHECKING:
    from worker.bench.stream.load_generator import Latency


@dataclass(frozen=True, slots=True)
class Point:
    """Throughput of workers under a backlog, and latency at half of it."""

    name: str
    delivery: str
    num_replicas: int
    num_partitions: int
    messages_per_s: float
    latency: Latency
    #: Resident memory of a replica in MiB: when it was ready, and the maximum under the backlog.
    idle_mib: float
    peak_mib: float
    lost: int
    repeated: int

    @property
    def full_name(self) -> str:
        """The name with the delivery."""
        return f"{self.name}, {self.delivery.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A change of the consumer group under an open-loop load."""

    #: `join`, `leave`, `kill` or `rolling`.
    kind: str
    delivery: str
    #: Whether members keep their names, so that a restart causes no rebalance.
    is_static: bool
    #: The longest time without an answer of a partition, in seconds.
    pause_s: float
    #: From a kill until every partition is served again, in seconds; NaN for other changes.
    takeover_s: float
    #: Records whose outputs were published again, visibly.
    redone: int
    latency: Latency
    lost: int

    @property
    def name(self) -> str:
        """The change in words."""
        return f"{self.kind}{', static members' if self.is_static else ''}, {self.delivery.replace('_', ' ')}"


@dataclass(slots=True)
class ScaleResults:
    """All results of one run."""

    machine: dict[str, Any]
    points: list[Point] = field(default_factory=list)
    changes: list[MembershipChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def points_by_replicas(self, delivery: str) -> list[Point]:
        """Return the points of a delivery that differ in the number of replicas alone."""
        points = [point for point in self.points if point.delivery == delivery]
        return [point for point in points if point.num_partitions == points[0].num_partitions]

    def relative(self, point: Point) -> float:
        """Return the throughput of a point over that of the first point of its delivery."""
        return ratio(point.messages_per_s, self.points_by_replicas(point.delivery)[0].messages_per_s)

    @property
    def deliveries(self) -> list[str]:
        """The deliveries in the order of measurement."""
        return list(dict.fromkeys(point.delivery for point in self.points))

    @property
    def lost(self) -> int:
        """Records without all their outputs."""
        return sum(point.lost for point in self.points) + sum(change.lost for change in self.changes)

    @property
    def repeated_exactly_once(self) -> int:
        """Records that exactly-once delivery published again."""
        points = [point.repeated for point in self.points if point.delivery == "exactly_once"]
        return sum(points) + sum(change.redone for change in self.changes if change.delivery == "exactly_once")

    def summary(self) -> dict[str, Any]:
        """Return the figures by delivery and by change; NaN for a figure that was not measured."""
        found: dict[str, Any] = {"lost": self.lost, "repeated_exactly_once": self.repeated_exactly_once}
        for delivery in self.deliveries:
            speeds = {point.num_replicas: point.messages_per_s for point in self.points_by_replicas(delivery)}
            two_over_one = ratio(speeds.get(2, math.nan), speeds.get(1, math.nan))
            found[delivery] = {"messages_per_s": {str(num): speed for num, speed in speeds.items()}, "two_over_one": two_over_one}
        found["idle_mib"] = max((point.idle_mib for point in self.points), default=math.nan)
        found["pause_s"] = {change.name: change.pause_s for change in self.changes}
        found["takeover_s"] = {change.name: change.takeover_s for change in self.changes if math.isfinite(change.takeover_s)}
        found["redone"] = {change.name: change.redone for change in self.changes}
        return found
