"""A comparison as a picture: the scarce task against how much of it there was, and the rich task beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.training.comparison.summary import Figure, SummaryRow

_SIZE_INCHES, _DPI, _SMALL = (9, 5), 100, 8
_INK, _GRID = "#1f2933", "#e4e7eb"


def draw(rows: Sequence[SummaryRow], path: Path) -> None:
    """Write a PNG, 900 pixels wide; raises `ModuleNotFoundError` without matplotlib."""
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415  not always installed, and heavy

    drawing = Drawing(figsize=_SIZE_INCHES, layout="constrained")
    axes = drawing.subplots(1, 2)
    for axis, name, title in zip(axes, ("scarce", "rich"), ("B, the scarce task: F1", "A, the rich task: accuracy"), strict=True):
        for number, contender in enumerate(dict.fromkeys(it.contender for it in rows)):
            own = sorted((it for it in rows if it.contender == contender), key=lambda it: it.share)
            figures: list[Figure] = [getattr(it, name) for it in own]
            # Side by side, so that intervals can be told apart.
            places = [it.share * (1 + 0.02 * number) for it in own]
            halves = [0 if math.isnan(it.half) else it.half for it in figures]
            axis.errorbar(places, [it.mean for it in figures], yerr=halves, label=contender, marker="o", ms=3, lw=1, capsize=2)
        axis.set_xscale("log")
        ticks = sorted({it.share for it in rows})
        axis.set_xticks(ticks, [f"{it:.0%}" for it in ticks])
        axis.minorticks_off()
        axis.set_title(title, loc="left", fontsize=10, color=_INK)
        axis.set_xlabel("share of B's training texts", fontsize=_SMALL)
        axis.tick_params(labelsize=_SMALL)
        axis.grid(color=_GRID, linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    drawing.legend(handles, names, loc="outside lower center", ncols=4, fontsize=_SMALL, frameon=False)
    drawing.savefig(path, dpi=_DPI, format="png")
