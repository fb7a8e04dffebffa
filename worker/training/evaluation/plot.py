"""A picture of an evaluation: reliability and confusion of labels, F1 and reliability of entities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.training.evaluation.labels import Bin
    from worker.training.evaluation.report import EntityReport, EvaluationReport, LabelReport

_WIDTH_INCHES, _ROW_INCHES, _DPI = 9, 3.6, 100
_OURS, _INK, _FAINT, _GRID = "#1b7f5c", "#1f2933", "#616e7c", "#e4e7eb"
_SMALL = 8
# A count above this share of the largest count is written in white.
_DARK = 0.55


def draw(report: EvaluationReport, path: Path) -> None:
    """Write a PNG, 900 pixels wide, one row for each head and file; raises `ModuleNotFoundError` without matplotlib."""
    from matplotlib import rc_context  # noqa: PLC0415  optional and slow to import

    # A `$` in a label's name starts no formula.
    with rc_context({"text.parse_math": False}):
        _draw(report, path)


def _draw(report: EvaluationReport, path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = [*report.labels, *report.entities]
    figure = Figure(figsize=(_WIDTH_INCHES, _ROW_INCHES * max(1, len(rows))), layout="constrained")
    axes = figure.subplots(max(1, len(rows)), 2, squeeze=False)
    for label, pair in zip(report.labels, axes, strict=False):
        _draw_reliability(pair[0], f"{label.head}, {label.title}", label.reliability, label.figures["ECE"].value)
        _draw_confusion(pair[1], label)
    for entity, pair in zip(report.entities, axes[len(report.labels) :], strict=False):
        _draw_reliability(pair[0], f"{entity.head}, {entity.title}", entity.reliability, entity.ece.value)
        _draw_f1(pair[1], entity)
    if not rows:
        for axis in axes[0]:
            axis.set_axis_off()
    figure.savefig(path, dpi=_DPI, format="png")


def _draw_reliability(axis: Any, title: str, bins: Sequence[Bin], error: float) -> None:
    """Draw the accuracy of each bin over its mean probability; the area of a point is the bin's share of all predictions."""
    total = sum(bin_.num for bin_ in bins) or 1
    axis.plot([0, 1], [0, 1], color=_FAINT, linewidth=0.8, linestyle="--")
    points = [bin_.confidence for bin_ in bins], [bin_.accuracy for bin_ in bins]
    axis.plot(*points, color=_OURS, linewidth=1)
    axis.scatter(*points, s=[12 + 400 * bin_.num / total for bin_ in bins], color=_OURS, alpha=0.7, linewidths=0)
    axis.set(xlim=(0, 1.02), ylim=(0, 1.02))
    _style(axis, f"{title}: ECE {error:.3f}", "probability of the prediction", "share of right predictions")
    axis.grid(color=_GRID, linewidth=0.8)


def _draw_confusion(axis: Any, report: LabelReport) -> None:
    """Draw the number of texts for each pair of true and predicted label."""
    indices, largest = range(len(report.labels)), max((max(row) for row in report.confusion), default=0) or 1
    axis.imshow(report.confusion, cmap="Greens", vmin=0, vmax=largest, aspect="auto")
    for row, counts in enumerate(report.confusion):
        for column, count in enumerate(counts):
            colour = "white" if count > _DARK * largest else _INK
            axis.annotate(f"{count:,}", (column, row), ha="center", va="center", fontsize=_SMALL, color=colour)
    axis.set_xticks(indices, report.labels, rotation=45 if len(indices) > 3 else 0)  # noqa: PLR2004  names would overlap
    axis.set_yticks(indices, report.labels)
    _style(axis, f"accuracy {report.figures['accuracy'].value:.3f}", "predicted", "true")


def _draw_f1(axis: Any, report: EntityReport) -> None:
    """Draw the F1 of each group of entities with its interval."""
    groups = report.groups[::-1]
    names, figures = [group.name for group in groups], [group.figures["f1"] for group in groups]
    values = [figure.value for figure in figures]
    # A figure without an interval has no whiskers.
    ends = [(one.value, one.value) if math.isnan(one.low) else (one.low, one.high) for one in figures]
    pairs = list(zip(values, ends, strict=True))
    whiskers = [[max(0, value - low) for value, (low, _) in pairs], [max(0, high - value) for value, (_, high) in pairs]]
    axis.barh(names, values, color=_OURS, height=0.7)
    axis.errorbar(values, names, xerr=whiskers, fmt="none", ecolor=_INK, elinewidth=1, capsize=2.5)
    for name, (value, (_, high)) in zip(names, pairs, strict=True):
        axis.annotate(f"{value:.3f}", (high, name), (5, 0), textcoords="offset points", va="center", fontsize=_SMALL)
    axis.set_xlim(0, 1.12)
    _style(axis, "F1, whole entities", "F1 and its 95 % interval", "")
    axis.grid(axis="x", color=_GRID, linewidth=0.8)


def _style(axis: Any, title: str, x_label: str, y_label: str) -> None:
    axis.set_title(title, loc="left", fontsize=10, color=_INK)
    axis.set_xlabel(x_label, fontsize=_SMALL, color=_FAINT)
    axis.set_ylabel(y_label, fontsize=_SMALL, color=_FAINT)
    axis.tick_params(labelsize=_SMALL, colors=_INK)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_axisbelow(True)
