"""The report of the backfill benchmark."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from worker.bench.frame import plot
from worker.bench.frame.report import Report, Table, format_number

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.backfill.results import BackfillResults

_PERCENTS = (50, 99)


def build_report(results: BackfillResults) -> Report:
    """Return a table by live load, and plots of latency and throughput."""
    ratios = ", ".join(f"{format_number(results.ratio(share), 2)} times at {share:.0%} load" for share in results.shares)
    return Report(
        title="Backfill",
        claim=f"p99 of live records with a backfill is {ratios or 'unknown'} of p99 without one; lost {results.lost}",
        machine=results.machine,
        tables=[_build_table(results)],
        notes=results.notes,
        is_good=not results.lost,
        summary=results.summary(),
        details=asdict(results),
        draw=lambda report, path: _draw(report, results, path),
    )


def _build_table(results: BackfillResults) -> Table:
    rows = []
    for share in results.shares:
        alone, with_backfill = (
            ", ".join(format_number(results.live_ms(share, has_backfill=has_backfill, percent=percent)) for percent in _PERCENTS)
            for has_backfill in (False, True)
        )
        ratio, rate = format_number(results.ratio(share), 2), format_number(results.backfill_per_s(share))
        rows.append([f"{share:.0%}", alone, with_backfill, ratio, rate])
    columns = ("live load", "p50, p99 ms without", "p50, p99 ms with", "p99 ratio", "backfill records/s")
    return Table(title=f"Live records and backfill, of {results.capacity_per_s:,.0f} records/s", columns=columns, rows=rows)


def _draw(report: Report, results: BackfillResults, path: Path) -> None:
    figure, axes = plot.new_figure(report, height_inches=4, num_columns=2)
    loads = [share * 100 for share in results.shares]
    lines = []
    for percent, mark in zip(_PERCENTS, ("o", "^"), strict=True):
        for words, has_backfill, colour in (("with", True, plot.COLOURS[0]), ("without", False, plot.MUTED)):
            times = [results.live_ms(share, has_backfill=has_backfill, percent=percent) for share in results.shares]
            lines.append(plot.Line(label=f"p{percent} {words} backfill", x=loads, y=times, colour=colour, style=f"{mark}-"))
    x_label = "live load, % of the capacity"
    plot.draw_lines(
        axes[0, 0], lines, title="Live latency", x_label=x_label, y_label="ms from due time to last output", is_log=True
    )
    rates = [
        plot.Line(label="backfill", x=loads, y=[results.backfill_per_s(share) for share in results.shares]),
        plot.Line(label="live", x=loads, y=[share * results.capacity_per_s for share in results.shares], colour=plot.MUTED),
    ]
    plot.draw_lines(axes[0, 1], rates, title="Throughput", x_label=x_label, y_label="records/s")
    plot.save(figure, path)
