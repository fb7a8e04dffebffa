"""The results and the report of the backfill benchmark."""

from __future__ import annotations

import math

import pytest

from worker.bench.backfill.report import build_report
from worker.bench.backfill.results import BackfillResults, Turn
from worker.bench.stream.load_generator import Latency
from worker.bench.stream.results import LoadResult


def build_turn(share: float, p99_ms: float, *, backfill_per_s: float | None = None) -> Turn:
    """Return a turn with simple figures."""
    load = LoadResult(share, 100.0, 100.0, Latency(p99_ms / 2, p99_ms, p99_ms), 1.0)
    return Turn(load, backfill_per_s is not None, backfill_per_s or 0.0)


def build_results() -> BackfillResults:
    """Return two loads, one of them with three rounds."""
    turns = [build_turn(0.5, 40), build_turn(0.5, 50, backfill_per_s=300)]
    for alone, with_backfill in ((10, 12), (20, 22), (900, 900)):
        turns += [build_turn(0.25, alone), build_turn(0.25, with_backfill, backfill_per_s=with_backfill)]
    return BackfillResults({"cores": 2}, 1_000.0, turns, lost=0, notes=["the conditions"])


def test_ratios_are_those_of_medians() -> None:
    """A load that was not measured has NaN."""
    found = build_results()
    assert found.shares == [0.25, 0.5]
    assert found.ratio(0.25) == pytest.approx(1.1)
    assert found.ratio(0.5, 50) == pytest.approx(1.25)
    assert found.backfill_per_s(0.5) == 300
    assert math.isnan(found.ratio(0.75))
    assert found.summary()["p99_ratio"] == {"25%": pytest.approx(1.1), "50%": pytest.approx(1.25)}


def test_the_report_has_a_row_for_each_load() -> None:
    """The claim has the ratios of p99."""
    report = build_report(build_results())
    assert (
        report.claim
        == "p99 of live records with a backfill is 1.10 times at 25% load, 1.25 times at 50% load of p99 without one; lost 0"
    )
    assert list(report.tables[0].rows[1]) == ["50%", "20, 40", "25, 50", "1.25", "300"]
    assert "1,000 records/s" in report.tables[0].title
