"""The report, of results that never ran."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING

from rich.console import Console

from worker.bench.scale import report
from worker.bench.scale.results import MembershipChange, Point, ScaleResults
from worker.bench.stream.offered import Latency

if TYPE_CHECKING:
    from pathlib import Path

WAITS = Latency(20.0, 40.0, 60.0)


def results(*, lost: int = 0, repeated: int = 0) -> ScaleResults:
    """Return what a run may find."""
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
    return ScaleResults({"cores": 2}, points, changes, ["each replica is held to one core"])


def test_the_summary_has_the_figures_that_one_compares() -> None:
    """By delivery, from the ways that differ in the number of replicas alone."""
    summary = results(lost=2).summary()
    assert summary["at_least_once"]["messages_per_s"] == {"1": 1000.0, "2": 1800.0}
    assert summary["at_least_once"]["two_over_one"] == 1.8
    assert summary["exactly_once"]["two_over_one"] is None
    assert (summary["lost"], summary["idle_mib"]) == (2, 560.0)
    assert summary["pause_s"] == {"kill, at least once": 10.5, "rolling, static members, exactly once": None}
    assert summary["takeover_s"] == {"kill, at least once": 9.9}
    assert summary["redone"]["kill, at least once"] == 40


def test_no_law_is_told_of_other_knobs() -> None:
    """Nothing would be in it."""
    found = results()
    assert found.law("at_least_once") is not None
    found.has_law = False
    assert found.law("at_least_once") is None


def test_what_exactly_once_repeats_is_counted_apart() -> None:
    """At least once may repeat."""
    assert results().repeated_exactly_once == 0
    assert results(repeated=1).repeated_exactly_once == 1


def test_everything_is_said_once() -> None:
    """The ways, the law with its limits, the changes, how it was measured; also as JSON."""
    console = Console(file=io.StringIO(), width=132)
    report.show(console, results())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in (
        "2 replicas, 2 partitions",
        "1.80",
        "1000 messages/s x n",
        "not fitted: coherence",
        "10.5",
        "9.9",
        "held to one core",
        "lost 0",
    ):
        assert part in shown
    read = json.loads(report.as_json(results()))
    assert read["summary"]["at_least_once"]["two_over_one"] == 1.8
    assert read["disturbances"][0]["kind"] == "kill"


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """Also of nothing."""
    for it in (results(), ScaleResults({})):
        report.plot(it, tmp_path / "scale.png")
        assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
