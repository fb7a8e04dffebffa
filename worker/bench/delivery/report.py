"""The report of the delivery benchmark: exactly-once is compared with adjacent at-least-once runs."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from worker.bench.delivery.run import MAIN_INTERVAL_MS, MAIN_PARTITIONS, build_mode
from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Runs, Table, format_number, ratio

if TYPE_CHECKING:
    from worker.bench.stream.modes import ModeResults

_RATE = "records_per_s"
_COLUMNS = (
    Column("ratio", "ratio", 2, drawn_as="throughput over that of adjacent at-least-once runs"),
    Column("records/s", _RATE),
    Column("p50 ms", "p50_ms"),
    Column("p99 ms", "p99_ms", drawn_as="p99, ms from due time to committed read"),
    Column("records/publication", "backlog_per_publication"),
    Column("publication ms", "publish_ms", 1),
    Column("worker CPU ms", "worker_ms", 2),
    Column("broker CPU ms", "broker_ms", 2),
    Column("lost", "lost"),
    Column("repeated", "repeated"),
)
# Compared with the adjacent runs: throughput, and processor time under the backlog and at the offered load.
_COMPARED = {"ratio": _RATE} | {
    f"{name}_ratio": name for name in ("backlog_worker_ms", "backlog_broker_ms", "worker_ms", "broker_ms")
}
_CAPTION = (
    "Medians. ratio: throughput over that of the adjacent at-least-once runs. p50, p99: from the due time until a reader of "
    "committed records receives the label, at half of the throughput of the first run. records/publication: under the backlog. "
    "publication, CPU per record: at the offered load."
)


def build_report(results: ModeResults) -> Report:
    """Return a table of all modes by partitions and name, at-least-once first."""
    runs = compare_with_adjacent(results)
    main, reference = build_mode(MAIN_PARTITIONS, MAIN_INTERVAL_MS).full_name, build_mode(MAIN_PARTITIONS).full_name
    repeated = sum(
        int(run.figures["repeated"]) for mode, run in zip(results.modes, runs.runs, strict=True) if mode.delivery == "exactly_once"
    )
    lost, ratio_of_main = runs.total("lost"), runs.median(main, "ratio")
    order = {mode.full_name: (mode.num_partitions, mode.settings.get("transaction_interval_ms", 0)) for mode in results.modes}
    ordered = Runs(sorted(runs.runs, key=lambda run: order[run.name]))
    summary: dict[str, Any] = {
        **{figure: runs.median(main, figure) for figure in (_RATE, *_COMPARED, "p50_ms", "p99_ms")},
        **{f"at_least_once_{name}": runs.median(reference, name) for name in (_RATE, "p50_ms", "p99_ms")},
        "ratios": {name: runs.median(name, "ratio") for name in runs.names if runs.values(name, "ratio")},
        "lost": lost,
        "repeated": repeated,
    }
    return Report(
        title="Exactly-once delivery",
        claim=f"Exactly-once has {format_number(ratio_of_main, 2) or 'an unknown share'} of the throughput of at-least-once "
        f"({main}, {len(runs.values(main, _RATE))} rounds); lost {lost}, repeated {repeated}",
        machine=results.machine,
        tables=[Table(title="Exactly-once against at-least-once", runs=ordered, columns=_COLUMNS, caption=_CAPTION)],
        notes=[*results.notes, f"at-least-once repeated {runs.total('repeated') - repeated} outputs"],
        is_good=not lost and not repeated,
        summary=summary,
    )


def compare_with_adjacent(results: ModeResults) -> Runs:
    """Return the runs, each exactly-once run with the ratios of its figures to those of the at-least-once runs before and after it.

    Only runs with the same number of partitions are compared.
    """
    found, runs = Runs(), results.runs.runs
    for number, (mode, run) in enumerate(zip(results.modes, runs, strict=True)):
        places = [place for place in (number - 1, number + 1) if 0 <= place < len(runs)]
        reference = build_mode(mode.num_partitions).full_name
        adjacent = [runs[place].figures for place in places if runs[place].name == reference != run.name]
        ratios = {
            title: ratio(run.figures.get(name, math.nan), statistics.fmean(figures.get(name, math.nan) for figures in adjacent))
            for title, name in _COMPARED.items()
            if adjacent
        }
        found.add(run.name, **run.figures, **ratios)
    return found
