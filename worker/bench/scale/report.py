"""What was found of scaling: for people, for programs, and as a picture."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import orjson
from matplotlib.figure import Figure
from rich.table import Table

from worker.bench.scale.law import REACH

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from rich.console import Console

    from worker.bench.scale.results import ScaleResults


def show(console: Console, results: ScaleResults) -> None:
    """Print a table of the ways, one of the changes of the group, the fitted law and its limits, and the account."""
    console.print(_points(results))
    for delivery in results.deliveries:
        if (law := results.law(delivery)) is not None and law.max_measured > 1:
            console.print(
                f"{delivery.replace('_', ' ')}: {law.rate:.0f} messages/s x n / (1 + {law.contention:.3f} (n - 1) + "
                f"{law.coherence:.4f} n (n - 1)), within {law.error:.1%} of what was measured; {law.limits}",
                soft_wrap=True,
            )
    if results.disturbances:
        console.print(_disturbances(results))
    for line in results.notes:
        console.print(line, soft_wrap=True)
    is_bad = results.lost or results.repeated_exactly_once
    console.print(
        f"lost {results.lost}, repeated by exactly once {results.repeated_exactly_once}", style="red" if is_bad else "green"
    )


def as_json(results: ScaleResults) -> bytes:
    """Return everything as JSON; `summary` holds the few figures that one compares."""
    return orjson.dumps({"summary": results.summary(), **asdict(results)}, option=orjson.OPT_INDENT_2)


def plot(results: ScaleResults, path: Path) -> None:
    """Draw throughput by replicas with the law beyond them, and the silence of each change."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_scaling(left, results)
    _draw_disturbances(right, results)
    figure.savefig(path, dpi=120)


def _points(results: ScaleResults) -> Table:
    table = Table(title="replicas and partitions", title_justify="left")
    for name in ("", "messages/s", "of one", "p50 ms", "p99 ms", "idle MiB", "peak MiB", "lost", "repeated"):
        table.add_column(name, justify="left" if not name else "right")
    for it in results.points:
        one = results.scaling(it.delivery)[0].messages_per_s
        table.add_row(
            f"{it.name}, {it.delivery.replace('_', ' ')}",
            f"{it.messages_per_s:.0f}",
            f"{it.messages_per_s / one:.2f}" if one else "",
            f"{it.latency.p50_ms:.0f}",
            f"{it.latency.p99_ms:.0f}",
            f"{it.idle_mib:.0f}",
            f"{it.peak_mib:.0f}",
            str(it.lost),
            str(it.repeated),
        )
    return table


def _disturbances(results: ScaleResults) -> Table:
    table = Table(title="changes of the group under load", title_justify="left")
    for name in ("", "longest silence s", "takeover s", "p50 ms", "p99 ms", "redone", "lost"):
        table.add_column(name, justify="left" if not name else "right")
    for it in results.disturbances:
        table.add_row(
            it.name,
            f"{it.pause_s:.1f}",
            "" if math.isnan(it.takeover_s) else f"{it.takeover_s:.1f}",
            f"{it.latency.p50_ms:.0f}",
            f"{it.latency.p99_ms:.0f}",
            str(it.redone),
            str(it.lost),
        )
    return table


def _draw_scaling(axes: Axes, results: ScaleResults) -> None:
    for number, delivery in enumerate(results.deliveries):
        points, name = results.scaling(delivery), delivery.replace("_", " ")
        axes.plot([it.num_replicas for it in points], [it.messages_per_s for it in points], "o", color=f"C{number}", label=name)
        law = results.law(delivery)
        if law is not None and law.max_measured > 1:
            n = np.linspace(1, REACH * law.max_measured, 100)
            axes.plot(n, [law.at(it) for it in n], "--", color=f"C{number}", label=f"{name}: the law, not measured past the dots")
    axes.set_xlabel("replicas, one core each")
    axes.set_ylabel("messages/s")
    axes.set_title("throughput")
    axes.grid(visible=True, alpha=0.3)
    if results.points:
        axes.legend(fontsize="small")


def _draw_disturbances(axes: Axes, results: ScaleResults) -> None:
    names = [it.name for it in results.disturbances]
    drawn = axes.barh(names, [it.pause_s for it in results.disturbances])
    axes.bar_label(drawn, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("longest silence of a partition, s")
    axes.set_title("changes of the group under load")
