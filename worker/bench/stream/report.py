"""The report of the stream benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Runs, Table, format_number
from worker.bench.stream.run import ENGINE, SUSTAINED_P50_MS

if TYPE_CHECKING:
    from worker.bench.stream.run import StreamResults

_RATE = "records_per_s"
_THROUGHPUT = (
    Column("records/s", _RATE, drawn_as="records/s"),
    Column("tokens/s", "tokens_per_s"),
    Column("of engine", "of_engine", 2),
    Column("fill", "fill", 2),
    Column("cores", "cores", 2),
    Column("broker's cores", "broker_cores", 2),
    Column("lost", "lost"),
    Column("repeated", "repeated"),
)
_LATENCY = (
    Column("offered/s", "offered_per_s"),
    Column("answered/s", "answered_per_s"),
    Column("p50 ms", "p50_ms", drawn_as="p50, ms from due time to last output"),
    Column("p95 ms", "p95_ms"),
    Column("p99 ms", "p99_ms", drawn_as="p99, ms from due time to last output"),
    Column("sender late ms", "sender_late_ms"),
)
_WORKERS = (
    Column("sustained load", "sustained", 3),
    Column("p50 ms at 75 %", "p50_at_75_ms"),
    Column("single record p50 ms", "single_p50_ms"),
    Column("inside ms", "single_inside_ms", 1),
    Column("bare pass ms", "bare_pass_ms", 1),
    Column("inside vs bare", "vs_bare_pass", 2),
    Column("peak MiB", "peak_mib"),
    Column("start s", "start_s", 1),
    Column("loop µs/record", "loop_us"),
)
_WORKERS_CAPTION = (
    f"Sustained load: the largest offered load whose p50 is below {SUSTAINED_P50_MS:.0f} ms, as a share of the throughput under "
    "the backlog; at 75 %: of the same throughput. Single records: to the last output, and inside the worker. Loop: processor time "
    "of the event loop for a record with all outputs, under the backlog."
)
_STAGES = ("tokenize", "wait", "infer", "encode", "publish")


def build_report(results: StreamResults) -> Report:
    """Return tables of throughput, of single workers and of latency."""
    throughput, workers = results.throughput, results.workers
    for name in workers.names:
        workers.add(name, **{figure: throughput.median(name, figure) for figure in ("peak_mib", "loop_us")})
    summary = summarize(results)
    baseline = f", {format_number(summary['vs_baseline'], 1)} times the tuned baseline" if summary["baseline"] else ""
    stages = [
        f"{name}, single records: " + ", ".join(f"{stage} {workers.median(name, f'single_{stage}_ms'):.1f} ms" for stage in _STAGES)
        for name in workers.names
    ]
    return Report(
        title="Stream",
        claim=f"{workers.names[0]}: {summary[_RATE]:,.0f} records/s, {format_number(summary['of_engine'], 2)} of the engine "
        f"without a broker{baseline}; lost {summary['lost']}",
        machine=results.machine,
        tables=[
            Table(title="Throughput", runs=throughput, columns=_THROUGHPUT, highlighted=workers.names[0]),
            Table(title="Load, single records and resources", runs=workers, columns=_WORKERS, caption=_WORKERS_CAPTION),
            Table(
                title="Latency at offered loads, from the due time of a record to its last output",
                runs=Runs(sorted(results.latency.runs, key=lambda load: (load.name.split(",")[:2], load.figures["share"]))),
                columns=_LATENCY,
            ),
        ],
        notes=[*stages, *results.notes],
        is_good=not summary["lost"],
        summary=summary,
    )


def summarize(results: StreamResults) -> dict[str, Any]:
    """Return the figures of the first stream, and the losses of all; NaN for a figure that was not measured."""
    throughput, name = results.throughput, results.workers.names[0]
    baseline = next((row for row in throughput.names if row.startswith("baseline")), "")
    figures = (_RATE, "tokens_per_s", "of_engine", "fill", "peak_mib", "loop_us")
    return {
        **{figure: throughput.median(name, figure) for figure in figures},
        "vs_baseline": throughput.ratio(name, baseline, _RATE),
        "baseline": baseline,
        "engine_per_s": throughput.median(ENGINE, _RATE),
        **{column.figure: results.workers.median(name, column.figure) for column in _WORKERS if column.figure not in figures},
        "lost": throughput.total("lost"),
        "repeated": throughput.total("repeated"),
    }
