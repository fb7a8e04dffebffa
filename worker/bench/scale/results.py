"""What was found of scaling, as plain values. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.bench.scale.law import fit

if TYPE_CHECKING:
    from worker.bench.scale.law import ScalabilityLaw
    from worker.bench.stream.offered import Latency


@dataclass(frozen=True, slots=True)
class Point:
    """One way to run the workers: its speed at a backlog, and what messages wait at half of that."""

    name: str
    delivery: str
    num_replicas: int
    num_partitions: int
    messages_per_s: float
    latency: Latency
    #: Resident memory of one replica, MiB: when it was ready and had done nothing, and the most of any time.
    idle_mib: float
    peak_mib: float
    lost: int
    repeated: int


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A change of the group under a load that does not wait for it."""

    #: `join`, `leave`, `kill` or `rolling`.
    kind: str
    delivery: str
    #: Whether the members kept their names, so that a restart is no rebalance.
    is_static: bool
    #: The longest silence of any partition, in seconds.
    pause_s: float
    #: From a kill until every partition was served again, in seconds; not-a-number of any other change.
    takeover_s: float
    #: Messages that were published again, visibly.
    redone: int
    latency: Latency
    lost: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind}{', static members' if self.is_static else ''}, {self.delivery.replace('_', ' ')}"


@dataclass(slots=True)
class ScaleResults:
    """Everything of one run, on one machine."""

    machine: dict[str, Any]
    points: list[Point] = field(default_factory=list)
    disturbances: list[MembershipChange] = field(default_factory=list)
    #: What a reader must know of how it was measured.
    notes: list[str] = field(default_factory=list)
    #: Whether points with as many partitions differ in their replicas alone, so that a law of replicas is in them.
    has_law: bool = True

    def scaling(self, delivery: str) -> list[Point]:
        """Return the points that differ in nothing but the number of replicas."""
        mine = [it for it in self.points if it.delivery == delivery]
        return [it for it in mine if it.num_partitions == mine[0].num_partitions]

    def law(self, delivery: str) -> ScalabilityLaw | None:
        """Return the law of one way of delivery; None where nothing was measured, or other things were turned too."""
        measured = [(it.num_replicas, it.messages_per_s) for it in self.scaling(delivery) if it.messages_per_s > 0]
        return fit(measured) if measured and self.has_law else None

    @property
    def deliveries(self) -> list[str]:
        """The ways of delivery, in the order in which they were measured."""
        return list(dict.fromkeys(it.delivery for it in self.points))

    @property
    def lost(self) -> int:
        """Messages without all their outputs, over everything."""
        return sum(it.lost for it in self.points) + sum(it.lost for it in self.disturbances)

    @property
    def repeated_exactly_once(self) -> int:
        """Messages that came again although they were to come exactly once."""
        exact = [it.repeated for it in self.points if it.delivery == "exactly_once"]
        return sum(exact) + sum(it.redone for it in self.disturbances if it.delivery == "exactly_once")

    def summary(self) -> dict[str, Any]:
        """Return the figures that one compares with other runs; None where one is missing."""
        found: dict[str, Any] = {"lost": self.lost, "repeated_exactly_once": self.repeated_exactly_once}
        for delivery in self.deliveries:
            speeds = {it.num_replicas: it.messages_per_s for it in self.scaling(delivery)}
            law = self.law(delivery)
            found[delivery] = {
                "messages_per_s": {str(num): it for num, it in speeds.items()},
                "two_over_one": speeds[2] / speeds[1] if speeds.get(1) and 2 in speeds else None,  # noqa: PLR2004
                "contention": law.contention if law else None,
                "coherence": law.coherence if law else None,
                "fit_error": law.error if law else None,
            }
        found["idle_mib"] = max((it.idle_mib for it in self.points), default=None)
        found["pause_s"] = {it.name: None if math.isnan(it.pause_s) else it.pause_s for it in self.disturbances}
        found["takeover_s"] = {it.name: it.takeover_s for it in self.disturbances if math.isfinite(it.takeover_s)}
        found["redone"] = {it.name: it.redone for it in self.disturbances}
        return found
