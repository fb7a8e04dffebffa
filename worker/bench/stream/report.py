"""The report of the stream benchmark."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from worker.bench.frame import plot
from worker.bench.frame.report import Report, Table, format_number

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.stream.results import StreamResults

_PERCENTS = ((50, "o-"), (95, "s--"), (99, "^:"))


def build_report(results: StreamResults) -> Report:
    """Return tables of throughput and latency, and a plot of both."""
    details = asdict(results)
    for plain, stream in zip(details["streams"], results.streams, strict=True):
        plain |= {"capacity": asdict(stream.capacity), "vs_engine": stream.vs_engine}
    baseline = f", {format_number(results.vs_baseline, 1)} times the tuned baseline" if results.baseline else ""
    first = results.streams[0]
    return Report(
        title="Stream",
        claim=f"{first.name}: {first.capacity.messages_per_s:,.0f} records/s, "
        f"{format_number(first.vs_engine, 2)} of the engine without a broker{baseline}; lost {results.lost}",
        machine=results.machine,
        tables=[_build_throughput(results), _build_latency(results)],
        notes=[*_describe_single_records(results), *results.notes, f"duplicated {results.duplicated}"],
        is_good=not results.lost,
        summary=results.summary(),
        details=details,
        draw=lambda report, path: _draw(report, results, path),
    )


def _build_throughput(results: StreamResults) -> Table:
    columns = ("", "records/s", "tokens/s", "of engine", "fill", "cores", "broker's cores", "MiB", "start s", "lost", "repeated")
    blank = [""] * (len(columns) - 3)
    rows = [
        ["engine, no broker", f"{engine.messages_per_s:,.0f}", f"{engine.tokens_per_s:,.0f}", *blank] for engine in results.engines
    ]
    for stream in results.streams:
        figures = (
            format_number(stream.capacity.messages_per_s),
            format_number(stream.capacity.tokens_per_s),
            format_number(stream.vs_engine, 2),
            format_number(stream.fill, 2),
            format_number(stream.worker.cores, 2),
            format_number(stream.broker.cores if stream.broker else None, 2),
            format_number(stream.worker.peak_rss_mib),
            format_number(stream.start_s, 1),
        )
        rows.append([stream.name, *figures, str(stream.lost), str(stream.duplicated)])
    if results.baseline:
        rows.append([f"baseline, {results.baseline.dtype}", f"{results.baseline.messages_per_s:,.0f}", "", *blank])
    return Table(title="Throughput", columns=columns, rows=rows)


def _build_latency(results: StreamResults) -> Table:
    columns = ("", "load", "offered/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "sender late p99 ms")
    rows = []
    for stream in results.streams:
        for load in stream.loads:
            times = (load.latency.p50_ms, load.latency.p95_ms, load.latency.p99_ms, load.sender_late_p99_ms)
            figures = map(format_number, (load.offered_per_s, load.achieved_per_s, *times))
            rows.append([stream.name, f"{load.share:.0%}", *figures])
    return Table(title="Latency at offered loads, from the due time of a record to its last output", columns=columns, rows=rows)


def _describe_single_records(results: StreamResults) -> list[str]:
    lines = []
    for stream in results.streams:
        if stream.single:
            stages = ", ".join(f"{name} {value:.1f}" for name, value in stream.single.stages_ms.items())
            lines.append(
                f"{stream.name}, single records: p50 {stream.single.end_to_end.p50_ms:.0f} ms from the record's timestamp to that "
                f"of its last output; {stream.single.inside_p50_ms:.1f} ms inside the worker ({stages} ms); "
                f"{results.bare_pass_ms:.1f} ms in the engine alone"
            )
    return lines


def _draw(report: Report, results: StreamResults, path: Path) -> None:
    figure, axes = plot.new_figure(report, height_inches=6.5, num_rows=2, height_ratios=[1, 2])
    bars = [plot.Bar(name="engine, no broker", value=results.engine_per_s, colour=plot.MUTED)]
    for stream in results.streams:
        rates = [part.messages_per_s for part in stream.rounds]
        bars.append(plot.Bar(name=stream.name, value=stream.capacity.messages_per_s, low=min(rates), high=max(rates)))
    if results.baseline:
        bars.append(plot.Bar(name="baseline, embeddings only", value=results.baseline.messages_per_s, colour=plot.MUTED))
    plot.draw_bars(axes[0, 0], bars, title="Throughput", unit="records/s")
    lines = []
    for colour, stream in zip(
        plot.COLOURS * len(results.streams), [stream for stream in results.streams if stream.loads], strict=False
    ):
        offered = [load.offered_per_s for load in stream.loads]
        for percent, style in _PERCENTS:
            times = [getattr(load.latency, f"p{percent}_ms") for load in stream.loads]
            lines.append(plot.Line(label=f"p{percent}, {stream.name}", x=offered, y=times, colour=colour, style=style))
    x_label, y_label = "offered records/s", "ms from due time to last output"
    plot.draw_lines(axes[1, 0], lines, title="Latency", x_label=x_label, y_label=y_label, is_log=True)
    plot.save(figure, path)
