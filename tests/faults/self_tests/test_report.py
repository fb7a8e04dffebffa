"""The table of a run says what was run and what was lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.faults.report import main, table

if TYPE_CHECKING:
    from pathlib import Path

ZEROS = {"dead_letters": 0, "lost": 0, "duplicated": 0, "torn": 0, "hanging": 0}
CONSUMER = {"protocol": "consumer"}
LINES = [
    json.dumps({"scenario": "test_a_zombie", "mode": "exactly_once", "seed": 1, "records": 1000, "faults": 2} | ZEROS),
    json.dumps({"scenario": "test_a_zombie", "mode": "exactly_once", "seed": 1, "records": 9, "faults": 1} | ZEROS | CONSUMER),
    json.dumps({"scenario": "test_a_zombie", "mode": "exactly_once", "seed": 2, "records": 500, "faults": 3} | ZEROS),
    json.dumps(
        {"scenario": "test_a_zombie", "mode": "at_least_once", "seed": 2, "records": 7, "faults": 1} | ZEROS | {"duplicated": 4}
    ),
]


def test_runs_of_a_scenario_are_added_up_by_mode_and_protocol() -> None:
    """The last rows have the sums of each mode and protocol."""
    shown = table(LINES)
    assert "| a zombie | exactly once | consumer | 1 | 9 | 1 | 0 | 0 | 0 | 0 | 0 |" in shown
    assert "| a zombie | exactly once | classic | 2 | 1,500 | 5 | 0 | 0 | 0 | 0 | 0 |" in shown
    assert "| **all** | at least once | classic | 1 | 7 | 1 | 0 | 0 | 4 | 0 | 0 |" in shown
    assert shown.endswith("Seeds: 1, 2.")


def test_the_page_keeps_all_but_the_table(tmp_path: Path) -> None:
    """A second run of the command changes nothing."""
    summary, page = tmp_path / "summary.jsonl", tmp_path / "page.md"
    summary.write_text("\n".join(LINES))
    page.write_text("before\n<!-- faults -->\nold\n<!-- /faults -->\nafter\n")
    main([str(summary), str(page)])
    once = page.read_text()
    main([str(summary), str(page)])
    assert page.read_text() == once
    assert once.startswith("before\n<!-- faults -->\n| scenario")
    assert once.endswith("<!-- /faults -->\nafter\n")
