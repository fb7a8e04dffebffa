"""The results of the benchmark for people, for programs, and as a picture."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson
from matplotlib.figure import Figure
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from rich.console import Console

    from worker.bench.stream.results import Stream, StreamResults


def show(console: Console, results: StreamResults) -> None:
    """Print a table of who brings how much, one of what a message waits for, and the account."""
    console.print(_contestants(results))
    console.print(_curve(results))
    for stream in results.streams:
        if (trickle := stream.trickle) is not None:
            stages = ", ".join(f"{name} {value:.1f}" for name, value in trickle.stages_ms.items())
            console.print(
                f"{_name(stream)}, a lone message: p50 {trickle.end_to_end.p50_ms:.0f} ms from its timestamp to its last output's; "
                f"inside the worker {trickle.inside_p50_ms:.1f} ms with the wait for company ({stages} ms); "
                f"the bare pass of one text {results.bare_pass_ms:.1f} ms",
                soft_wrap=True,
            )
    for line in results.notes:
        console.print(line)
    duplicated = sum(it.duplicated for it in results.streams)
    console.print(f"lost {results.lost}, duplicated {duplicated}", style="red" if results.lost else "green")


def as_json(results: StreamResults) -> bytes:
    """Return everything as JSON; `summary` holds the few figures that one compares."""
    plain = asdict(results)
    for own, stream in zip(plain["streams"], results.streams, strict=True):
        own |= {"capacity": asdict(stream.capacity), "vs_engine": stream.vs_engine}
    return orjson.dumps({"summary": results.summary(), **plain}, option=orjson.OPT_INDENT_2)


def plot(results: StreamResults, path: Path) -> None:
    """Draw throughput by contestant, and latency against the offered load."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_throughput(left, results)
    _draw_latency(right, results)
    figure.savefig(path, dpi=120)


def _name(stream: Stream) -> str:
    return f"{stream.num_workers} worker{'s' * (stream.num_workers > 1)}, {stream.delivery.replace('_', ' ')}"


def _contestants(results: StreamResults) -> Table:
    table = Table(title="throughput", title_justify="left")
    for name in (
        "",
        "messages/s",
        "tokens/s",
        "of engine",
        "fill",
        "cores",
        "broker's",
        "MiB",
        "start s",
        "lost",
        "repeated",
    ):
        table.add_column(name, justify="left" if not name else "right")
    for engine in results.engines:
        table.add_row("engine, no broker", f"{engine.messages_per_s:.0f}", f"{engine.tokens_per_s:.0f}")
    for it in results.streams:
        table.add_row(
            _name(it),
            f"{it.capacity.messages_per_s:.0f}",
            f"{it.capacity.tokens_per_s:.0f}",
            f"{it.vs_engine:.1%}",
            f"{it.fill:.2f}",
            f"{it.worker.cores:.2f}",
            f"{it.broker.cores:.2f}" if it.broker else "",
            f"{it.worker.peak_rss_mib:.0f}",
            f"{it.start_s:.1f}",
            str(it.lost),
            str(it.duplicated),
        )
    if results.peer is not None:
        table.add_row(f"peer, {results.peer.dtype}", f"{results.peer.messages_per_s:.0f}")
    return table


def _curve(results: StreamResults) -> Table:
    title = "latency at offered loads, from the time at which a message was due to its last output's"
    table = Table(title=title, title_justify="left")
    for name in ("", "load", "offered/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "sender late p99 ms"):
        table.add_column(name, justify="left" if not name else "right")
    for stream in results.streams:
        for it in stream.loads:
            waits = [f"{wait:.0f}" for wait in (it.latency.p50_ms, it.latency.p95_ms, it.latency.p99_ms, it.sender_late_p99_ms)]
            table.add_row(_name(stream), f"{it.share:.0%}", f"{it.offered_per_s:.0f}", f"{it.achieved_per_s:.0f}", *waits)
    return table


def _draw_throughput(axes: Axes, results: StreamResults) -> None:
    bars = [("engine, no broker", results.engine_per_s), *((_name(it), it.capacity.messages_per_s) for it in results.streams)]
    if results.peer is not None:
        bars.append(("peer, embeddings only", results.peer.messages_per_s))
    names, values = zip(*bars, strict=True)
    drawn = axes.barh(names, values)
    axes.bar_label(drawn, fmt="%.0f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("messages/s")
    axes.set_title("throughput")


def _draw_latency(axes: Axes, results: StreamResults) -> None:
    for number, stream in enumerate(it for it in results.streams if it.loads):
        offered = [it.offered_per_s for it in stream.loads]
        for percent, style in ((50, "-"), (95, "--"), (99, ":")):
            waits = [getattr(it.latency, f"p{percent}_ms") for it in stream.loads]
            axes.plot(offered, waits, style, marker="o", color=f"C{number}", label=f"{_name(stream)}: p{percent}")
    axes.set_yscale("log")
    axes.set_xlabel("offered messages/s")
    axes.set_ylabel("ms from due to answered")
    axes.set_title("latency against offered load")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
