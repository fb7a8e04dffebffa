"""What a backfill costs the live lane, for people, for programs, and as a picture."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson
from matplotlib.figure import Figure
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from worker.bench.lanes.results import LanesResults

_PERCENTS = (50, 99)


def show(console: Console, results: LanesResults) -> None:
    """Print the table, what must be known of it, and the verdict."""
    table = Table(title=f"live and backfill, of {results.capacity_per_s:,.0f} messages/s", title_justify="left")
    for name in ("live load", "p50 ms, p99 ms alone", "with backfill", "p99 ratio", "backfill messages/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for share in results.shares:
        alone, beside = (
            ", ".join(f"{results.live_ms(share, has_backfill=it, percent=percent):.0f}" for percent in _PERCENTS)
            for it in (False, True)
        )
        table.add_row(f"{share:.0%}", alone, beside, f"{results.ratio(share):.2f}", f"{results.backfill_per_s(share):,.0f}")
    console.print(table)
    for line in results.notes:
        console.print(line)
    console.print(f"lost {results.lost}", style="red" if results.lost else "green")


def as_json(results: LanesResults) -> bytes:
    """Return everything as JSON; `summary` holds the few figures that one compares."""
    return orjson.dumps({"summary": results.summary(), **asdict(results)}, option=orjson.OPT_INDENT_2)


def plot(results: LanesResults, path: Path) -> None:
    """Draw the live lane's latency with and without a backfill, against the live load, and what the backfill got."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    loads = [it * 100 for it in results.shares]
    for percent, colour in zip(_PERCENTS, ("C1", "C3"), strict=True):
        for has_backfill, line in ((False, "o--"), (True, "o-")):
            waits = [results.live_ms(it, has_backfill=has_backfill, percent=percent) for it in results.shares]
            left.plot(loads, waits, line, color=colour, label=f"p{percent}, {'with' if has_backfill else 'without'} backfill")
    left.set_ylabel("ms from due to the last output, live")
    left.set_yscale("log")
    left.legend(fontsize="small")
    right.plot(loads, [results.backfill_per_s(it) for it in results.shares], "o-", label="backfill")
    right.plot(loads, [it * results.capacity_per_s for it in results.shares], "--", color="grey", label="live")
    right.set_ylabel("messages/s")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.set_xlabel("live load, % of the capacity")
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=120)
