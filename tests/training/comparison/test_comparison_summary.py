"""The journal and the table of a comparison."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from worker.errors import BadSettings
from worker.training.comparison.run import append_result, read_results
from worker.training.comparison.summary import CellResult, build_figure, build_rows, format_json, format_table

if TYPE_CHECKING:
    from pathlib import Path


def build_result(contender: str, seed: int, small: float, *, share: float = 0.05) -> CellResult:
    """Return a result."""
    return CellResult(contender=contender, share=share, seed=seed, large=0.8, small=small, seconds=10.0 + seed, steps=5)


def test_a_mean_has_students_interval() -> None:
    """Three seeds give 4.30 standard errors; one seed gives no interval."""
    figure = build_figure([0.1, 0.2, 0.3])
    assert figure.mean == pytest.approx(0.2)
    assert figure.half == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert str(figure) == "0.200 ± 0.248"
    assert str(build_figure([0.5])) == "0.500"


def test_the_table_has_a_line_for_each_contender_and_the_best_is_bold() -> None:
    """A missing cell is empty."""
    results = [
        *(build_result("one", seed, 0.4) for seed in (0, 1)),
        build_result("other", 0, 0.6),
        build_result("one", 0, 0.2, share=0.2),
    ]
    lines = format_table(build_rows(results), "Introduction.").splitlines()
    assert lines[0] == "Introduction."
    assert lines[2] == "| strategy | A, 5% of B | B, 5% of B | A, 20% of B | B, 20% of B | seconds |"
    assert lines[4] == "| one | **0.800 ± 0.000** | 0.400 ± 0.000 | **0.800** | **0.200** | 10.2 |"
    assert lines[5] == "| other | **0.800** | **0.600** |  |  | 10.0 |"


def test_a_missing_interval_is_null_in_json() -> None:
    """JSON has no NaN."""
    written = json.loads(format_json(build_rows([build_result("one", 0, 0.5)]), {"steps": 5}))
    assert written["rows"][0]["small"] == {"mean": 0.5, "half": None}
    assert written["plan"] == {"steps": 5}


def test_a_journal_overwrites_an_incomplete_line(tmp_path: Path) -> None:
    """The error for a damaged line names file and line."""
    path = tmp_path / "new" / "cells.jsonl"
    assert read_results(path, "plan") == []
    append_result(path, "plan", build_result("one", 0, 0.1))
    path.write_text(path.read_text() + '{"plan": "pl')
    assert [result.small for result in read_results(path, "plan")] == [0.1]
    append_result(path, "plan", build_result("one", 1, 0.2))
    assert [result.small for result in read_results(path, "plan")] == [0.1, 0.2]
    path.write_text("[]\n")
    with pytest.raises(BadSettings, match=r"cells\.jsonl:1: not a result"):
        read_results(path, "plan")
