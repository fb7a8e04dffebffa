"""The totals of a run of the laboratory, as the table of `docs/guarantees.md`.

python -m tests.faults.report SUMMARY.jsonl [PAGE.md]    prints the table, or puts it between the page's marks
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.lab.oracle import Totals

_BEGIN, _END = "<!-- faults -->", "<!-- /faults -->"
_COUNTS = ("records", "faults", "dead_letters", "lost", "duplicated", "torn", "hanging")


def add(totals: Totals, summary: Path) -> None:
    """Append the totals of a scenario to a run's summary."""
    with summary.open("a") as file:
        file.write(json.dumps(asdict(totals)) + "\n")


def table(lines: list[str]) -> str:
    """Return a Markdown table with a row for each scenario and mode, and the sums; `lines` are JSON objects of `Totals`."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        totals = json.loads(line)
        rows[totals["scenario"].removeprefix("test_").replace("_", " "), totals["mode"].replace("_", " ")].append(totals)
    shown = [
        "| scenario | delivery | runs | records | faults | dead letters | lost | duplicated | torn | hanging |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    shown += [_row(scenario, mode, runs) for (scenario, mode), runs in sorted(rows.items())]
    for mode in sorted({mode for _, mode in rows}):
        shown.append(_row("**all**", mode, [run for (_, name), runs in rows.items() if name == mode for run in runs]))
    seeds = sorted({totals["seed"] for runs in rows.values() for totals in runs})
    return "\n".join([*shown, "", f"Seeds: {', '.join(map(str, seeds))}."])


def _row(scenario: str, mode: str, runs: list[dict[str, Any]]) -> str:
    sums = " | ".join(f"{sum(run[name] for run in runs):,}" for name in _COUNTS)
    return f"| {scenario} | {mode} | {len(runs)} | {sums} |"


def main(arguments: list[str]) -> None:
    """Print the table, or write it into a page."""
    text = table(Path(arguments[0]).read_text().splitlines())
    if len(arguments) == 1:
        sys.stdout.write(text + "\n")
        return
    page = Path(arguments[1])
    before, _, rest = page.read_text().partition(_BEGIN)
    page.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{rest.partition(_END)[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
