"""The report of the engine benchmark."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from tests.bench.engine_results import build_results
from worker.bench.engine.report import build_report, summarize


def test_the_summary_describes_the_chosen_backend() -> None:
    """Ratios are against baselines, bare matrix products and fp32."""
    found = summarize(build_results())
    assert found["backend"] == "compiled"
    assert (found["vs_baseline"], found["vs_best_baseline"], found["roofline_fraction"]) == (10.0, 2.0, 0.5)
    assert (found["messages_per_s"], found["fill"], found["min_cosine_to_fp32"]) == (100.0, 0.5, 0.998)
    assert (found["int8_vs_chosen"], found["int8_min_cosine_to_fp32"], found["heads_share"]) == (1.5, 0.99, 0.03)


def test_a_figure_that_was_not_measured_is_none() -> None:
    """All keys are present."""
    found = summarize(replace(build_results(), panels=[], exactness={}, heads={}))
    assert found.keys() == summarize(build_results()).keys()
    assert set(found.values()) == {None}


def test_a_table_has_a_row_for_each_candidate() -> None:
    """The chosen backend is highlighted, and a missing candidate has a note."""
    report = build_report(build_results())
    table = report.tables[0]
    assert [row[0] for row in table.rows] == [entry.name for entry in build_results().panels[0].entries]
    assert table.highlighted == 1
    assert list(table.rows[1][1:]) == ["100", "80 to 120", "1.00", "1,000", "0.50", "50 %", "1,024", "20.0", "2.0"]
    console = Console(file=io.StringIO(), width=190)
    report.show(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("absent: unavailable: openvino is not installed", "left out: the rest", "cosine at least 0.99800", "3.0%"):
        assert part in shown
    assert "compiled: 100 texts/s, 2.0 times the fastest baseline (best)" in shown


def test_json_holds_the_whole_run() -> None:
    """The summary is an object of its own."""
    plain = json.loads(build_report(build_results()).to_json())
    assert plain.keys() == {"summary", "machine", "is_quick", "left_out", "panels", "exactness", "heads", "seconds"}
    assert plain["summary"]["best_baseline"] == "best"
