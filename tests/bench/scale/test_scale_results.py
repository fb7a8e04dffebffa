"""The results and the report of the scale benchmark."""

from __future__ import annotations

import io
import json
import math

from rich.console import Console

from worker.bench.scale.report import build_report
from worker.bench.scale.results import MembershipChange, Point, ScaleResults
from worker.bench.stream.load_generator import Latency

WAITS = Latency(20.0, 40.0, 60.0)


def build_results(*, lost: int = 0, repeated: int = 0) -> ScaleResults:
    """Return results with simple figures."""
    points = [
        Point("1 replica, 8 partitions", "at_least_once", 1, 8, 1000.0, WAITS, 560.0, 700.0, lost, 3),
        Point("2 replicas, 8 partitions", "at_least_once", 2, 8, 1800.0, WAITS, 555.0, 690.0, 0, 0),
        Point("2 replicas, 2 partitions", "at_least_once", 2, 2, 1700.0, WAITS, 550.0, 690.0, 0, 0),
        Point("1 replica, 8 partitions", "exactly_once", 1, 8, 900.0, WAITS, 550.0, 690.0, 0, repeated),
    ]
    changes = [
        MembershipChange("kill", "at_least_once", is_static=False, pause_s=10.5, takeover_s=9.9, redone=40, latency=WAITS, lost=0),
        MembershipChange(
            "rolling", "exactly_once", is_static=True, pause_s=math.nan, takeover_s=math.nan, redone=0, latency=WAITS, lost=0
        ),
    ]
    return ScaleResults({"cores": 2}, points, changes, ["each replica is pinned to one core"])


def test_the_summary_has_figures_by_delivery_and_change() -> None:
    """The ratio of two replicas to one is that of points with the same number of partitions."""
    summary = build_results(lost=2).summary()
    assert summary["at_least_once"] == {"messages_per_s": {"1": 1000.0, "2": 1800.0}, "two_over_one": 1.8}
    assert math.isnan(summary["exactly_once"]["two_over_one"])
    assert (summary["lost"], summary["idle_mib"]) == (2, 560.0)
    assert summary["pause_s"]["kill, at least once"] == 10.5
    assert math.isnan(summary["pause_s"]["rolling, static members, exactly once"])
    assert summary["takeover_s"] == {"kill, at least once": 9.9}
    assert summary["redone"]["kill, at least once"] == 40


def test_repetitions_of_exactly_once_are_counted_apart() -> None:
    """At-least-once delivery may repeat."""
    assert build_results().repeated_exactly_once == 0
    assert build_results(repeated=1).repeated_exactly_once == 1
    assert not build_report(build_results(repeated=1)).is_good


def test_the_report_shows_points_and_changes() -> None:
    """The claim names the best point."""
    console = Console(file=io.StringIO(), width=132)
    report = build_report(build_results())
    report.show(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("2 replicas, 2 partitions", "1.80", "10.5", "9.9", "pinned to one core", "lost 0"):
        assert part in shown
    assert report.claim.startswith("2 replicas, 8 partitions: 1.80 times the throughput of 1 replica, 8 partitions; lost 0")
    assert json.loads(report.to_json())["changes"][0]["kind"] == "kill"


def test_results_of_nothing_are_a_report() -> None:
    """A sweep has no changes of the group, and no point has no claim."""
    assert build_report(ScaleResults({})).claim == "lost 0, repeated by exactly-once 0"
