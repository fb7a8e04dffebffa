"""The report of the scale benchmark and of the sweep over settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from worker.bench.frame import plot
from worker.bench.frame.report import Report, Table, format_number

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.scale.results import ScaleResults


def build_report(results: ScaleResults) -> Report:
    """Return tables of throughput and of membership changes, and a plot of both."""
    best = max(results.points, key=results.relative, default=None)
    claim = (
        f"{best.name}: {format_number(results.relative(best), 2)} times the throughput of {results.points[0].name}; "
        if best
        else ""
    )
    repeated = results.repeated_exactly_once
    return Report(
        title="Replicas and rebalances" if results.changes else "Settings, one at a time",
        claim=f"{claim}lost {results.lost}, repeated by exactly-once {repeated}",
        machine=results.machine,
        tables=[_build_points(results), *([_build_changes(results)] if results.changes else [])],
        notes=results.notes,
        is_good=not results.lost and not repeated,
        summary=results.summary(),
        details=asdict(results),
        draw=lambda report, path: _draw(report, results, path),
    )


def _build_points(results: ScaleResults) -> Table:
    columns = ("", "records/s", "relative", "p50 ms", "p99 ms", "idle MiB", "peak MiB", "lost", "repeated")
    rows = [
        [
            point.full_name,
            format_number(point.messages_per_s),
            format_number(results.relative(point), 2),
            *map(format_number, (point.latency.p50_ms, point.latency.p99_ms, point.idle_mib, point.peak_mib)),
            str(point.lost),
            str(point.repeated),
        ]
        for point in results.points
    ]
    return Table(title="Throughput, and latency at half of it", columns=columns, rows=rows)


def _build_changes(results: ScaleResults) -> Table:
    columns = ("", "longest pause s", "takeover s", "p50 ms", "p99 ms", "redone", "lost")
    rows = [
        [
            change.name,
            format_number(change.pause_s, 1),
            format_number(change.takeover_s, 1),
            format_number(change.latency.p50_ms),
            format_number(change.latency.p99_ms),
            str(change.redone),
            str(change.lost),
        ]
        for change in results.changes
    ]
    return Table(title="Changes of the consumer group under load", columns=columns, rows=rows)


def _draw(report: Report, results: ScaleResults, path: Path) -> None:
    height_inches = 2.5 + 0.3 * (len(results.points) + len(results.changes))
    ratios = [1 + len(results.points), 1 + len(results.changes)][: 2 if results.changes else 1]
    figure, axes = plot.new_figure(report, height_inches=height_inches, num_rows=len(ratios), height_ratios=ratios)
    colours = dict(zip(results.deliveries, plot.COLOURS, strict=False))
    points = [
        plot.Bar(name=point.full_name, value=point.messages_per_s, colour=colours[point.delivery]) for point in results.points
    ]
    plot.draw_bars(axes[0, 0], points, title="Throughput", unit="records/s")
    if results.changes:
        changes = [
            plot.Bar(name=change.name, value=change.pause_s, colour=colours.get(change.delivery, plot.MUTED))
            for change in results.changes
        ]
        plot.draw_bars(axes[1, 0], changes, title="Changes of the consumer group", unit="longest pause of a partition, s")
    plot.save(figure, path)
