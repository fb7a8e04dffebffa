"""All cells of a comparison together."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from worker.errors import BadSettings
from worker.training.comparison.costs import Costs
from worker.training.comparison.journal import ComparisonResult, Journal
from worker.training.comparison.summary import as_json, build_rows, format_figure, table, within

if TYPE_CHECKING:
    from pathlib import Path


def result(contender: str, seed: int, scarce: float, *, share: float = 0.05) -> ComparisonResult:
    """Return a result."""
    return ComparisonResult(contender=contender, share=share, seed=seed, rich=0.8, scarce=scarce, seconds=10.0 + seed, steps=5)


def test_a_mean_has_students_interval() -> None:
    """Of three seeds: 4.30 standard errors; of one, none."""
    three = format_figure([0.1, 0.2, 0.3])
    assert three.mean == pytest.approx(0.2)
    assert three.half == pytest.approx(4.30 * 0.1 / math.sqrt(3))
    assert str(three) == "0.200 ± 0.248"
    assert str(format_figure([0.5])) == "0.500"


def test_the_table_has_a_line_for_each_and_the_best_is_bold() -> None:
    """A cell that is not there is empty."""
    results = [result("one", seed, 0.4) for seed in (0, 1)] + [result("other", 0, 0.6), result("one", 0, 0.2, share=0.2)]
    shown = table(build_rows(results), Costs(one_model=100, two_models=190, runs_on="here"), "About.").splitlines()
    assert shown[0] == "About."
    assert shown[2] == "| strategy | A, 5% of B | B, 5% of B | A, 20% of B | B, 20% of B | seconds |"
    assert shown[4] == "| one | **0.800 ± 0.000** | 0.400 ± 0.000 | **0.800** | **0.200** | 10.2 |"
    assert shown[5] == "| other | **0.800** | **0.600** |  |  | 10.0 |"
    assert "two models 190 ms, 1.90 times as much" in shown[-1]


def test_json_knows_no_nan() -> None:
    """What is not known is null."""
    written = json.loads(as_json(build_rows([result("one", 0, 0.5)]), None, {"steps": 5}))
    assert written["rows"][0]["scarce"] == {"mean": 0.5, "half": None}
    assert (written["plan"], written["costs"]) == ({"steps": 5}, None)


def test_a_document_without_marks_is_refused() -> None:
    """With what is missing."""
    with pytest.raises(BadSettings, match=r"page\.md: no `<!-- comparison -->`"):
        within("# Page", "table", name="page.md")


def test_a_journal_keeps_whole_lines(tmp_path: Path) -> None:
    """What was cut off is written over; what is no result is named with its line."""
    journal = Journal(tmp_path / "new" / "cells.jsonl", "plan")
    assert journal.read() == []
    journal.append(result("one", 0, 0.1))
    path = tmp_path / "new" / "cells.jsonl"
    path.write_text(path.read_text() + '{"plan": "pl')
    assert [it.scarce for it in journal.read()] == [0.1]
    journal.append(result("one", 1, 0.2))
    assert [it.scarce for it in journal.read()] == [0.1, 0.2]
    path.write_text("[]\n")
    with pytest.raises(BadSettings, match=r"cells\.jsonl:1: not a result"):
        journal.read()
