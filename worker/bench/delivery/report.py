"""The report of the delivery benchmark."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from worker.bench.delivery.results import DeliveryMode
from worker.bench.frame import plot
from worker.bench.frame.report import Report, Table, format_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.bench.delivery.results import DeliveryResults

# Column, figure of a run, digits.
_FIGURES = (
    ("records/s", "messages_per_s", 0),
    ("p50 ms", "latency.p50_ms", 0),
    ("p99 ms", "latency.p99_ms", 0),
    ("records/publication", "backlog.per_publication", 0),
    ("publication ms", "load.publish_ms", 1),
    ("worker CPU ms", "load.worker_ms", 2),
    ("broker CPU ms", "load.broker_ms", 2),
)
_CAPTION = (
    "Medians. ratio: throughput over that of the adjacent at-least-once runs. p50, p99: from the due time until a reader of "
    "committed records receives the label, at the offered load. records/publication: under the backlog. publication, CPU per "
    "record: at the offered load."
)


def build_report(results: DeliveryResults) -> Report:
    """Return a table of all modes, and plots of throughput and latency by interval and by partitions."""
    num_rounds = sum(run.mode == results.main for run in results.runs)
    repeated = results.duplicated("exactly_once")
    ratio = format_number(results.ratio(results.main), 2) or "an unknown share"
    return Report(
        title="Exactly-once delivery",
        claim=f"Exactly-once has {ratio} of the throughput of at-least-once "
        f"({results.main.name}, {num_rounds} rounds); lost {results.lost}, repeated {repeated}",
        machine=results.machine,
        tables=[_build_table(results)],
        notes=[*results.notes, f"at-least-once repeated {results.duplicated('at_least_once')} outputs"],
        is_good=not results.lost and not repeated,
        summary=results.summary(),
        details=asdict(results),
        draw=lambda report, path: _draw(report, results, path),
    )


def _build_table(results: DeliveryResults) -> Table:
    columns = ("mode", "runs", "ratio", *(column for column, _, _ in _FIGURES), "lost", "repeated")
    rows = []
    for mode in results.modes:
        runs = [run for run in results.runs if run.mode == mode]
        ratio = "" if mode.interval_ms is None else format_number(results.ratio(mode), 2)
        figures = [format_number(results.median(mode, attrgetter(name)), digits) for _, name, digits in _FIGURES]
        counts = (str(sum(run.lost for run in runs)), str(sum(run.duplicated for run in runs)))
        rows.append([mode.name, str(len(runs)), ratio, *figures, *counts])
    return Table(title="Exactly-once against at-least-once", columns=columns, rows=rows, caption=_CAPTION)


def _draw(report: Report, results: DeliveryResults, path: Path) -> None:
    figure, axes = plot.new_figure(report, height_inches=6.5, num_rows=2, num_columns=2, sharex="col")
    by_interval = (results.by_interval(), "transaction interval, ms", lambda mode: mode.interval_ms)
    by_partitions = (results.by_partitions(), "partitions", lambda mode: mode.num_partitions)
    for column, (modes, x_label, position) in enumerate((by_interval, by_partitions)):
        _draw_column(axes[:, column], results, modes, x_label, position)
    plot.save(figure, path)


def _draw_column(
    axes: NDArray[Any],
    results: DeliveryResults,
    modes: Sequence[DeliveryMode],
    x_label: str,
    position: Callable[[DeliveryMode], int],
) -> None:
    x = [position(mode) for mode in modes]
    ratios = [plot.Line(label="exactly once", x=x, y=[results.ratio(mode) for mode in modes])]
    y_label = "share of at-least-once"
    plot.draw_lines(axes[0], ratios, title="Throughput", x_label="", y_label=y_label, reference=1.0)
    lines = []
    for percent, style in ((50, "o-"), (99, "^:")):
        figure = attrgetter(f"latency.p{percent}_ms")
        exact = [results.median(mode, figure) for mode in modes]
        least = [results.median(DeliveryMode(mode.num_partitions), figure) for mode in modes]
        lines.append(plot.Line(label=f"p{percent}, exactly once", x=x, y=exact, style=style))
        lines.append(plot.Line(label=f"p{percent}, at least once", x=x, y=least, style=style, colour=plot.MUTED))
    plot.draw_lines(axes[1], lines, title="Latency", x_label=x_label, y_label="ms from due time to committed read", is_log=True)
    if x:
        axes[1].set_xscale("log")
        axes[1].set_xticks(x, [str(number) for number in x])
        axes[1].minorticks_off()
