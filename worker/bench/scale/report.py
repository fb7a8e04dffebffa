"""The report of the scale benchmark and of the sweep over settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Table, format_number

if TYPE_CHECKING:
    from worker.bench.scale.run import ScaleResults

_RATE = "records_per_s"
_POINTS = (
    Column("records/s", _RATE, drawn_as="records/s"),
    Column("relative", "relative", 2),
    Column("p50 ms", "p50_ms"),
    Column("p99 ms", "p99_ms"),
    Column("idle MiB", "idle_mib"),
    Column("peak MiB", "peak_mib"),
    Column("lost", "lost"),
    Column("repeated", "repeated"),
)
_CHANGES = (
    Column("longest pause s", "pause_s", 1, drawn_as="longest pause of a partition, s"),
    Column("longest wait where the owner stays s", "stays_s", 2),
    Column("where it changes s", "moves_s", 2),
    Column("partitions that move", "num_moved"),
    Column("takeover s", "takeover_s", 1),
    Column("p50 ms", "p50_ms"),
    Column("p99 ms", "p99_ms"),
    Column("redone", "redone"),
    Column("lost", "lost"),
)


def build_report(results: ScaleResults) -> Report:
    """Return tables of throughput and of membership changes; throughput is relative to the first mode of the same delivery."""
    points, changes, modes = results.points.runs, results.changes, results.points.modes
    relative = {mode.full_name: points.ratio(mode.full_name, results.find_first(mode.delivery).full_name, _RATE) for mode in modes}
    for name, value in relative.items():
        points.add(name, relative=value)
    best = max(relative, key=relative.__getitem__)
    lost = points.total("lost") + changes.total("lost")
    repeated = sum(
        sum(runs.values(name, figure))
        for runs, figure in ((points, "repeated"), (changes, "redone"))
        for name in runs.names
        if name.endswith("exactly once")
    )
    tables = [Table(title="Throughput, and latency at half of it", runs=points, columns=_POINTS)]
    if changes.runs:
        tables.append(Table(title="Changes of the consumer group under load", runs=changes, columns=_CHANGES))
    return Report(
        title="Replicas and rebalances" if changes.runs else "Settings, one at a time",
        claim=f"{best}: {format_number(relative[best], 2)} times the throughput of {modes[0].name}; "
        f"lost {lost}, repeated by exactly-once {repeated:.0f}",
        machine=results.points.machine,
        tables=tables,
        notes=results.points.notes,
        is_good=not lost and not repeated,
        summary={
            "relative": relative,
            "pause_s": {name: changes.median(name, "pause_s") for name in changes.names},
            "takeover_s": {name: changes.median(name, "takeover_s") for name in changes.names},
            "idle_mib": max(points.median(name, "idle_mib") for name in points.names),
            "lost": lost,
            "repeated_exactly_once": repeated,
        },
    )
