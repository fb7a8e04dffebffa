"""One style for all plots: the claim is the title, the machine is named below, and every point lies inside its axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.bench.frame.machine import describe_in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from worker.bench.frame.report import Report

#: One colour for each series; the first is that of GIST Stream.
COLOURS = ("#1b7f5c", "#c2571a", "#35618e", "#8a5a9e")
MUTED = "#9aa5b1"
_INK, _FAINT, _GRID = "#1f2933", "#616e7c", "#e4e7eb"
_WIDTH_INCHES, _DPI, _MARGIN = 9, 120, 1.15
# A narrower bar has its figure behind its end.
_MIN_SHARE_FOR_INSIDE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One horizontal bar, with the slowest and the fastest round where there were several."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    colour: str = COLOURS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series of points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = COLOURS[0]
    style: str = "o-"


def new_figure(
    report: Report, *, height_inches: float, num_rows: int = 1, num_columns: int = 1, **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure with the claim above and the machine below, and its axes `[num_rows, num_columns]`."""
    from matplotlib.figure import Figure  # noqa: PLC0415  tables need no matplotlib

    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    figure.suptitle(report.claim, x=0.01, ha="left", fontsize=11, weight="bold", color=_INK, wrap=True)
    figure.supxlabel(describe_in_one_line(report.machine), x=0.01, ha="left", fontsize=7, color=_FAINT, wrap=True)
    axes: NDArray[Any] = figure.subplots(num_rows, num_columns, squeeze=False, **options)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 1,080 pixels in width."""
    figure.savefig(path, dpi=_DPI, format="png")


def draw_bars(axes: Any, bars: Sequence[Bar], *, title: str, unit: str) -> None:
    """Draw bars, the first on top."""
    bars = [bar for bar in bars if math.isfinite(bar.value)]
    largest = max((max(bar.value, bar.high if bar.high > bar.value else 0) for bar in bars), default=1) or 1
    names = [bar.name for bar in bars]
    axes.barh(names, [bar.value for bar in bars], color=[bar.colour for bar in bars], height=0.72)
    for bar in bars:
        is_inside = bar.value > _MIN_SHARE_FOR_INSIDE * largest
        end = max(bar.value, bar.high if bar.high > bar.value else 0)
        text = f"{bar.value:,.0f}" if bar.value >= 100 else f"{bar.value:.1f}"  # noqa: PLR2004  three digits
        anchor, colour = (0, "white") if is_inside else (end, _INK)
        axes.annotate(text, (anchor, bar.name), (5, 0), textcoords="offset points", va="center", fontsize=8, color=colour)
        if bar.low < bar.high:
            whisker = [[bar.value - bar.low], [bar.high - bar.value]]
            axes.errorbar([bar.value], [bar.name], xerr=whisker, fmt="none", ecolor=_INK, elinewidth=1, capsize=2.5)
    axes.invert_yaxis()
    axes.set_xlim(0, _MARGIN * largest)
    _style(axes, title=title, x_label=unit, grid="x")


def draw_lines(
    axes: Any,
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    is_log: bool = False,
    reference: float | None = None,
) -> None:
    """Draw lines through the points that were measured; the limits include every point and the dashed `reference`."""
    points = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    for line in lines:
        kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        axes.plot([x for x, _ in kept], [y for _, y in kept], line.style, color=line.colour, label=line.label, markersize=4)
    if reference is not None:
        axes.axhline(reference, color=_FAINT, linestyle="--", linewidth=1)
    if is_log:
        axes.set_yscale("log")
    elif points:
        axes.set_ylim(0, _MARGIN * max(reference or 0, *(y for _, y in points)))
    if points:
        axes.margins(x=0.06)
    axes.set_ylabel(y_label, fontsize=8, color=_FAINT)
    if lines:
        axes.legend(fontsize=7, frameon=False)
    _style(axes, title=title, x_label=x_label, grid="both")


def _style(axes: Any, *, title: str, x_label: str, grid: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    axes.set_xlabel(x_label, fontsize=8, color=_FAINT)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
