"""The tables: everybody is in them, and whoever has no numbers says why."""

from __future__ import annotations

import io

from rich.console import Console

from tests.bench.results import panel, result
from worker.bench.engine import table


def shown(*parts: object) -> str:
    """Return what a terminal shows."""
    console = Console(file=io.StringIO(), width=170)
    for part in parts:
        console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_table_has_a_row_for_each_contestant() -> None:
    """The chosen way is marked."""
    rows = shown(table.panel_table(panel())).splitlines()
    for entry in panel().entries:
        assert sum(entry.name in row for row in rows) == 1
    chosen = next(row for row in rows if "auto" in row)
    for figure in ("ours, compiled", "100", "80 to 120", "1.00 x", "1,000", "0.50", "50%", "1,024", "20.0", "2.0"):
        assert figure in chosen


def test_below_stands_what_is_missing_and_why() -> None:
    """And what was left out, and how exact it is."""
    lines = shown(*table.notes(result()))
    assert "nobody: not here: openvino is not installed" in lines
    assert "left out: the rest" in lines
    assert "cosine at least 0.99800" in lines
    assert "3.0%" in lines


def test_the_summary_is_a_line_for_each_figure() -> None:
    """Those that were measured."""
    lines = shown(*table.summary_lines(result()), table.machine_line({"cores": 2}))
    assert "vs_first_written        10" in lines
    assert "cores 2" in lines


def test_a_busy_machine_is_said_so() -> None:
    """Its figures are not worth much."""
    assert "run it again alone" in shown(table.machine_line({table.OTHERS: 0.6}))
    assert "run it again alone" not in shown(table.machine_line({table.OTHERS: 0.02}))
    assert "run it again alone" not in shown(table.machine_line({table.OTHERS: None}))
