"""The report of the backfill benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.bench.backfill.run import name_turn
from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Table, format_number

if TYPE_CHECKING:
    from worker.bench.backfill.run import BackfillResults

_COLUMNS = (
    Column("p50 ms", "p50_ms"),
    Column("p99 ms", "p99_ms", drawn_as="p99 of live records, ms from due time to last output"),
    Column("p99 ratio", "p99_ratio", 2),
    Column("backfill records/s", "backfill_per_s", drawn_as="backfilled records/s"),
)


def build_report(results: BackfillResults) -> Report:
    """Return a table by live load, with and without a backfill; the ratio compares p99 with that without."""
    turns = results.turns
    ratios = {}
    for share in results.shares:
        alone, name = (name_turn(share, has_backfill=has_backfill) for has_backfill in (False, True))
        ratios[f"{share:.0%}"] = turns.ratio(name, alone, "p99_ms")
        turns.add(name, p99_ratio=ratios[f"{share:.0%}"])
    words = ", ".join(f"{format_number(value, 2) or 'unknown'} times at {share} load" for share, value in ratios.items())
    title = f"Live records and backfill, of {results.capacity_per_s:,.0f} records/s"
    return Report(
        title="Backfill",
        claim=f"p99 of live records with a backfill is {words} of p99 without one; lost {results.lost}",
        machine=results.machine,
        tables=[Table(title=title, runs=turns, columns=_COLUMNS)],
        notes=results.notes,
        is_good=not results.lost,
        summary={"capacity_per_s": results.capacity_per_s, "p99_ratio": ratios, "lost": results.lost},
    )
