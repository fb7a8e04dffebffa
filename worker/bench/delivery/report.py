"""What exactly once costs, for people, for programs, and as a picture."""

from __future__ import annotations

import math
from dataclasses import asdict
from operator import attrgetter
from typing import TYPE_CHECKING

import orjson
from matplotlib.figure import Figure
from rich.table import Table

from worker.bench.delivery.results import DeliveryMode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from rich.console import Console

    from worker.bench.delivery.results import DeliveryResults

_COLUMNS = (
    *("partitions", "transactions", "runs", "messages/s", "ratio", "p50 ms", "p99 ms"),
    *("together", "took ms", "worker", "broker", "lost", "again"),
)
_CAPTION = (
    "medians. no transactions: at least once. ratio: of the throughput to that of the at-least-once runs beside it. p50, p99: from "
    "due to seen by a reader of what is committed, at the offered load. together: messages for each publication of a partition "
    "under the backlog; took: its time, at the offered load. worker, broker: processor ms for each message, at the offered load"
)


def show(console: Console, results: DeliveryResults) -> None:
    """Print the table, what must be known of it, and the verdict."""
    console.print(_table(results))
    console.print(_CAPTION)
    for line in results.notes:
        console.print(line)
    ratio = results.ratio(results.main)
    if not math.isnan(ratio):
        num_rounds = sum(it.way == results.main for it in results.runs)
        console.print(f"{results.main.name}: {ratio:.1%} of the throughput of at least once, {num_rounds} in turn with it")
    repeated = f"repeated {results.duplicated('exactly_once')} exactly once and {results.duplicated('at_least_once')} at least once"
    is_good = not results.lost and not results.duplicated("exactly_once")
    console.print(f"lost {results.lost}, {repeated}", style="green" if is_good else "red")


def as_json(results: DeliveryResults) -> bytes:
    """Return everything as JSON; `summary` holds the few figures that one compares."""
    return orjson.dumps({"summary": results.summary(), **asdict(results)}, option=orjson.OPT_INDENT_2)


def plot(results: DeliveryResults, path: Path) -> None:
    """Draw throughput, and below it latency, against the interval and against the partitions."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    (left, right), (below_left, below_right) = figure.subplots(2, 2, sharex="col", sharey="row")
    exact = [it for it in results.ways if it.interval_ms is not None]
    by_interval = [it for it in exact if it.num_partitions == results.main.num_partitions]
    by_partitions = [it for it in exact if it.interval_ms == results.main.interval_ms]
    for upper, lower, ways, places in (
        (left, below_left, by_interval, [it.interval_ms or 0 for it in by_interval]),
        (right, below_right, by_partitions, [it.num_partitions for it in by_partitions]),
    ):
        _draw_ratio(upper, results, ways, places)
        _draw_latency(lower, results, ways, places)
    left.set_ylabel("throughput, of at least once")
    below_left.set_ylabel("ms from due to seen")
    below_left.set_xlabel(f"ms from transaction to transaction, {results.main.num_partitions} partitions")
    below_right.set_xlabel(f"partitions, {results.main.interval_ms} ms from transaction to transaction")
    figure.savefig(path, dpi=120)


def _table(results: DeliveryResults) -> Table:
    table = Table(title="what exactly once costs", title_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "transactions" else "right", no_wrap=True)
    for way in results.ways:
        runs = [it for it in results.runs if it.way == way]
        table.add_row(
            str(way.num_partitions),
            "none" if way.interval_ms is None else f"every {way.interval_ms} ms",
            str(len(runs)),
            _number(results.median(way, lambda it: it.messages_per_s), 0),
            "" if way.interval_ms is None else _number(results.ratio(way), 3),
            _number(results.median(way, lambda it: it.latency.p50_ms), 0),
            _number(results.median(way, lambda it: it.latency.p99_ms), 0),
            _number(results.median(way, lambda it: it.backlog.per_publication), 0),
            _number(results.median(way, lambda it: it.load.publish_ms), 1),
            _number(results.median(way, lambda it: it.load.worker_ms), 2),
            _number(results.median(way, lambda it: it.load.broker_ms), 2),
            str(sum(it.lost for it in runs)),
            str(sum(it.duplicated for it in runs)),
        )
    return table


def _number(value: float, num_digits: int) -> str:
    return "" if math.isnan(value) else f"{value:,.{num_digits}f}"


def _draw_ratio(axes: Axes, results: DeliveryResults, ways: Sequence[DeliveryMode], places: Sequence[int]) -> None:
    ratios = [results.ratio(it) for it in ways]
    axes.axhline(1, color="grey", linestyle="--")
    axes.plot(places, ratios, "o-")
    for place, ratio in zip(places, ratios, strict=True):
        axes.annotate(f"{ratio:.2f}", (place, ratio), textcoords="offset points", xytext=(0, -14), ha="center")
    # Noise can put a way above at least once.
    axes.set_ylim(0, max([1.2, *(1.1 * it for it in ratios if not math.isnan(it))]))
    axes.grid(visible=True, alpha=0.3)


def _draw_latency(axes: Axes, results: DeliveryResults, ways: Sequence[DeliveryMode], places: Sequence[int]) -> None:
    for percent, colour in ((50, "C1"), (99, "C3")):
        figure = attrgetter(f"latency.p{percent}_ms")
        beside = [results.median(DeliveryMode(it.num_partitions), figure) for it in ways]
        axes.plot(places, [results.median(it, figure) for it in ways], "o-", color=colour, label=f"p{percent}, exactly once")
        axes.plot(places, beside, "--", color=colour, label=f"p{percent}, at least once")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(places, [str(it) for it in places])
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
