"""The report of the benchmark of the HTTP endpoint for queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.bench.api.run import ALONE, BARE, BASELINE, IN_PROCESS, NUM_CLIENTS, OURS, OVER_HTTP, QUERIES_PER_S, WITH_QUERIES
from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Table, format_number

if TYPE_CHECKING:
    from worker.bench.api.run import ApiResults

_LATENCY = (Column("p50 ms", "p50_ms", 1), Column("p99 ms", "p99_ms", 1))
_LONE = (
    Column("ms", "ms", 2, drawn_as="ms of a lone query"),
    Column("range", "ms", 2, kind="range"),
    Column("over bare pass, ms", "over_ms", 2),
)
_CLIENTS = (
    Column("queries/s", "queries_per_s", drawn_as="queries/s"),
    Column("range", "queries_per_s", kind="range"),
    Column("ratio", "queries_per_s", 2, kind="ratio"),
    *_LATENCY,
)
_STREAM = (
    *_LATENCY,
    Column("range of p99", "p99_ms", 1, kind="range"),
    Column("p99 ratio", "p99_ms", 2, kind="ratio"),
    Column("records/s", "offered_per_s"),
)


def build_report(results: ApiResults) -> Report:
    """Return a table of each measurement; ratios and differences are those of medians."""
    lone, clients, stream = results.lone, results.clients, results.stream
    over_ms = {name: lone.median(name, "ms") - lone.median(BARE, "ms") for name in (IN_PROCESS, OVER_HTTP)}
    for name, value in over_ms.items():
        lone.add(name, over_ms=value)
    ratios = {
        "queries_per_s": clients.ratio(OURS, BASELINE, "queries_per_s"),
        "p99_of_stream": stream.ratio(WITH_QUERIES, ALONE, "p99_ms"),
    }
    more, inside = (format_number(over_ms[name], 2) or "unknown" for name in (OVER_HTTP, IN_PROCESS))
    rate, p99 = (format_number(value, 2) or "unknown" for value in ratios.values())
    return Report(
        title="HTTP endpoint",
        claim=f"a lone query takes {more} ms more than a bare pass, {inside} ms of that in process; {rate} times the queries/s of "
        f"the baseline; p99 of the stream is {p99} times that without queries; lost {results.lost}",
        machine=results.machine,
        tables=[
            Table(title="A lone query", runs=lone, columns=_LONE),
            Table(title=f"{NUM_CLIENTS} clients", runs=clients, columns=_CLIENTS, reference=BASELINE, highlighted=OURS),
            Table(
                title=f"Stream at half of its backlog rate, with and without {QUERIES_PER_S} queries/s",
                runs=stream,
                columns=_STREAM,
                reference=ALONE,
            ),
        ],
        notes=results.notes,
        is_good=not results.lost,
        summary={"over_bare_pass_ms": over_ms, "ratio": ratios, "lost": results.lost},
    )
