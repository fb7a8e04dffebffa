"""A run as a picture: messages a second of everybody, a panel for each shape and corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.engine.measures import CandidateResult, Panel

_WIDTH_INCHES, _DPI, _PAD_INCHES = 9, 100, 0.12
_INCHES_PER_BAR, _INCHES_PER_PANEL = 0.3, 0.9
_COLOURS = {"ours": "#1b7f5c", "padded": "#9aa5b1", "roofline": "#d9dee4"}
_CHOSEN = "#0b5d41"
_INK, _FAINT = "#1f2933", "#616e7c"


def draw(result: CandidateResult, path: Path) -> None:
    """Write a PNG, 900 pixels wide; raises `ModuleNotFoundError` where matplotlib is not installed."""
    from matplotlib.figure import Figure  # noqa: PLC0415  not always installed, and heavy
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    panels = [it for it in result.panels if it.measured()]
    heights = [_INCHES_PER_PANEL + _INCHES_PER_BAR * len(it.measured()) for it in panels] or [_INCHES_PER_PANEL]
    # Room between one panel and the title of the next.
    layout = ConstrainedLayoutEngine(h_pad=_PAD_INCHES)
    figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), layout=layout)
    axes = figure.subplots(max(1, len(panels)), 1, squeeze=False, height_ratios=heights)
    for panel, axis in zip(panels, axes[:, 0], strict=False):
        _draw_panel(panel, axis)
    figure.savefig(path, dpi=_DPI, format="png")


def _draw_panel(panel: Panel, axis: Any) -> None:
    """Draw a bar for each contestant, the fastest on top, with a whisker from the slowest to the fastest round."""
    entries = sorted(panel.measured(), key=lambda it: it.tokens_per_s.median)
    rates = [panel.messages_per_s(it) for it in entries]
    medians = [it.median for it in rates]
    whiskers = [[it.median - it.min for it in rates], [it.max - it.median for it in rates]]
    colours = [_CHOSEN if it.is_chosen else _COLOURS[it.kind] for it in entries]
    names = [f"{it.name} (auto)" if it.is_chosen else it.name for it in entries]
    axis.barh(names, medians, color=colours, height=0.72)
    axis.errorbar(medians, names, xerr=whiskers, fmt="none", ecolor=_INK, elinewidth=1, capsize=2.5)
    for name, rate in zip(names, rates, strict=True):
        axis.annotate(
            f"{rate.median:,.0f}", (rate.max, name), (6, 0), textcoords="offset points", va="center", fontsize=8, color=_INK
        )
    axis.set_title(f"{panel.shape}; {panel.corpus}, mean {panel.mean_tokens:.0f} tokens", loc="left", fontsize=10, color=_INK)
    axis.set_xlabel("messages/s: median, slowest and fastest round", fontsize=8, color=_FAINT)
    axis.set_xlim(0, 1.12 * max(it.max for it in rates))
    axis.tick_params(labelsize=8, colors=_INK, left=False)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="x", color="#e4e7eb", linewidth=0.8)
    axis.set_axisbelow(True)
