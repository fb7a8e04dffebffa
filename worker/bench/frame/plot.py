"""Draws a report as bars: the claim is the title, the machine is named below, and every bar lies inside its axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from worker.bench.frame.machine import describe_in_one_line

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.frame.report import Report
    from worker.bench.frame.runs import Column, Table

_OURS, _OTHERS, _INK, _FAINT, _GRID = "#1b7f5c", "#9aa5b1", "#1f2933", "#616e7c", "#e4e7eb"
_WIDTH_INCHES, _DPI, _MARGIN = 9, 120, 1.15
# A narrower bar has its figure behind its end.
_MIN_SHARE_FOR_INSIDE = 0.15


def draw(report: Report, path: Path) -> None:
    """Write a PNG of 1,080 pixels in width, with a panel of bars for each drawn column of each table."""
    panels = [(table, column) for table in report.tables for column in table.columns if column.drawn_as]
    heights = [0.9 + 0.3 * len(table.runs.names) for table, _ in panels] or [0.9]
    figure = Figure(figsize=(_WIDTH_INCHES, 0.8 + sum(heights)), layout="constrained")
    figure.suptitle(report.claim, x=0.01, ha="left", fontsize=11, weight="bold", color=_INK, wrap=True)
    figure.supxlabel(describe_in_one_line(report.machine), x=0.01, ha="left", fontsize=7, color=_FAINT, wrap=True)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (table, column) in zip(axes, panels, strict=False):
        draw_bars(axis, table, column)
    figure.savefig(path, dpi=_DPI, format="png")


def draw_bars(axes: Any, table: Table, column: Column) -> None:
    """Draw a bar for the median of each row, with the smallest and the largest value of its runs."""
    medians = {name: table.runs.median(name, column.figure) for name in table.runs.names}
    medians = {name: value for name, value in medians.items() if math.isfinite(value)}
    ends = {name: max(table.runs.values(name, column.figure)) for name in medians}
    largest = max(ends.values(), default=1) or 1
    colours = [_OTHERS if table.highlighted and name != table.highlighted else _OURS for name in medians]
    axes.barh(list(medians), list(medians.values()), color=colours, height=0.72)
    for name, value in medians.items():
        is_inside = value > _MIN_SHARE_FOR_INSIDE * largest
        text = f"{value:,.0f}" if value >= 100 else f"{value:.{max(1, column.digits)}f}"  # noqa: PLR2004  three digits
        anchor, colour = (0, "white") if is_inside else (ends[name], _INK)
        axes.annotate(text, (anchor, name), (5, 0), textcoords="offset points", va="center", fontsize=8, color=colour)
        low = min(table.runs.values(name, column.figure))
        if low < ends[name]:
            whisker = [[value - low], [ends[name] - value]]
            axes.errorbar([value], [name], xerr=whisker, fmt="none", ecolor=_INK, elinewidth=1, capsize=2.5)
    axes.invert_yaxis()
    axes.set_xlim(0, _MARGIN * largest)
    axes.set_title(table.title, loc="left", fontsize=9, color=_INK)
    axes.set_xlabel(column.drawn_as, fontsize=8, color=_FAINT)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
