"""The totals of a run of the laboratory, as the table of `docs/reference/guarantees.md`.

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
    """Return a Markdown table with a row for each scenario, mode and protocol, and the sums; each line is JSON of `Totals`."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        totals = json.loads(line)
        name, mode = totals["scenario"].removeprefix("test_").replace("_", " "), totals["mode"].replace("_", " ")
        rows[name, mode, totals.get("protocol", "classic")].append(totals)
    shown = [
        "| scenario | delivery | protocol | runs | records | faults | dead letters | lost | duplicated | torn | hanging |",
        "| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    shown += [_row(key, runs) for key, runs in sorted(rows.items())]
    for mode, protocol in sorted({key[1:] for key in rows}):
        shown.append(
            _row(("**all**", mode, protocol), [run for key, runs in rows.items() if key[1:] == (mode, protocol) for run in runs])
        )
    seeds = sorted({totals["seed"] for runs in rows.values() for totals in runs})
    return "\n".join([*shown, "", f"Seeds: {', '.join(map(str, seeds))}."])


def _row(key: tuple[str, str, str], runs: list[dict[str, Any]]) -> str:
    sums = " | ".join(f"{sum(run[name] for run in runs):,}" for name in _COUNTS)
    return f"| {' | '.join(key)} | {len(runs)} | {sums} |"


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
