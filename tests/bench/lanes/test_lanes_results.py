"""The results: medians of the turns, and what stands against what."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from worker.bench.lanes import report
from worker.bench.lanes.results import LanesResults, Turn
from worker.bench.stream.offered import Latency
from worker.bench.stream.results import LoadResult

if TYPE_CHECKING:
    from pathlib import Path


def turn(share: float, p99_ms: float, *, backfill_per_s: float | None = None) -> Turn:
    """Return a turn with figures that are easy to reckon with."""
    load = LoadResult(share, 100.0, 100.0, Latency(p99_ms / 2, p99_ms, p99_ms), 1.0)
    return Turn(load, backfill_per_s is not None, backfill_per_s or 0.0)


def results() -> LanesResults:
    """Return two loads, of one of them three rounds."""
    turns = [turn(0.5, 40), turn(0.5, 50, backfill_per_s=300)]
    for alone, beside in ((10, 12), (20, 22), (900, 900)):
        turns += [turn(0.25, alone), turn(0.25, beside, backfill_per_s=beside)]
    return LanesResults({}, 1_000.0, turns, lost=0, notes=["how it was measured"])


def test_the_ratio_is_that_of_the_medians() -> None:
    """By load; what was not measured is no number."""
    found = results()
    assert found.shares == [0.25, 0.5]
    assert found.ratio(0.25) == pytest.approx(1.1)
    assert found.ratio(0.5, 50) == pytest.approx(1.25)
    assert found.backfill_per_s(0.5) == 300
    assert math.isnan(found.ratio(0.75))
    assert found.summary()["p99_ratio"] == {"25%": pytest.approx(1.1), "50%": pytest.approx(1.25)}


def test_the_report_says_it_to_people_to_programs_and_as_a_picture(tmp_path: Path) -> None:
    """The table, the JSON and the PNG have the same figures."""
    console = Console(file=io.StringIO(), width=132)
    report.show(console, results())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("1,000 messages/s", "20, 40", "25, 50", "1.25", "300", "how it was measured", "lost 0"):
        assert part in text
    assert json.loads(report.as_json(results()))["summary"]["capacity_per_s"] == 1_000
    report.plot(results(), tmp_path / "lanes.png")
    assert (tmp_path / "lanes.png").read_bytes().startswith(b"\x89PNG")
