"""The report of the scale benchmark and of the sweep over settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Table, format_number
from worker.bench.scale.membership_changes import SESSION_TIMEOUT_MS

if TYPE_CHECKING:
    from worker.bench.frame.runs import Runs
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
_CAPTION = (
    "Longest silence of a partition that stays with its owner, and of a partition that moves, in seconds; how much longer that is "
    "than without a change; and the number of partitions that moved. A silence includes a pass of 1 s, and a move also "
    "the drain of up to two passes. The takeover does not include the pass."
)
_STAYS, _MOVES, _TAKEOVER = "stays_beyond_s", "moves_beyond_s", "takeover_s"
_CHANGES = (
    Column("stays s", "stays_s", 2),
    Column("beyond quiet s", _STAYS, 2),
    Column("moves s", "moves_s", 2, drawn_as="longest silence of a partition that moves, s"),
    Column("beyond quiet s", _MOVES, 2),
    Column("moved", "num_moved"),
    Column("takeover s", _TAKEOVER, 2),
    Column("p50 ms", "p50_ms"),
    Column("p99 ms", "p99_ms"),
    Column("redone", "redone"),
    Column("lost", "lost"),
)
# The figures of the consumer protocol that the notes compare with their limits: words, kinds, figure, and the limit.
_LIMITS = (
    ("a partition that stays is silent beyond quiet, in seconds", ("join", "leave", "kill"), _STAYS, 0.05),
    ("a partition that moves to a new replica is silent beyond quiet, in seconds", ("join, consumer",), _MOVES, 0.5),
    ("partitions that move to a new replica", ("join",), "num_moved", math.nan),
    ("the takeover after a kill, in seconds", ("kill",), _TAKEOVER, SESSION_TIMEOUT_MS / 1000 + 1),
)


def build_report(results: ScaleResults) -> Report:
    """Return tables of throughput and of membership changes; throughput is relative to the first mode of the same delivery."""
    points, changes, modes = results.points.runs, results.changes, results.points.modes
    relative = {mode.full_name: points.ratio(mode.full_name, results.find_first(mode.delivery).full_name, _RATE) for mode in modes}
    for name, value in relative.items():
        points.add(name, relative=value)
    best = max(relative, key=relative.__getitem__)
    # With one mode of each delivery there is nothing to compare.
    has_others = len(modes) > len({mode.delivery for mode in modes})
    faster = f"{best}: {format_number(relative[best], 2)} times the throughput of {modes[0].name}; " if has_others else ""
    lost = points.total("lost") + changes.total("lost")
    repeated = sum(
        sum(runs.values(name, figure))
        for runs, figure in ((points, "repeated"), (changes, "redone"))
        for name in runs.names
        if name.endswith("exactly once")
    )
    tables = [Table(title="Throughput, and latency at half of it", runs=points, columns=_POINTS)]
    if changes.runs:
        tables.append(Table(title="Changes of the consumer group under load", runs=changes, columns=_CHANGES, caption=_CAPTION))
    return Report(
        title="Replicas and rebalances" if changes.runs else "Settings, one at a time",
        claim=f"{faster}lost {lost}, repeated by exactly-once {repeated:.0f}",
        machine=results.points.machine,
        tables=tables,
        notes=[*results.points.notes, *describe_limits(changes)],
        is_good=not lost and not repeated,
        summary={
            "relative": relative,
            **{
                figure: {name: changes.median(name, figure) for name in changes.names}
                for figure in ("stays_s", _STAYS, "moves_s", _MOVES, "num_moved", _TAKEOVER)
            },
            "idle_mib": max(points.median(name, "idle_mib") for name in points.names),
            "lost": lost,
            "repeated_exactly_once": repeated,
        },
    )


def describe_limits(changes: Runs) -> list[str]:
    """Return a line for each limit of the consumer protocol with the largest measured figure."""
    lines = []
    for words, kinds, figure, limit in _LIMITS:
        names = [name for name in changes.names if name.startswith(kinds) and "consumer protocol" in name]
        values = [value for name in names for value in changes.values(name, figure)]
        if values:
            of_limit = "" if math.isnan(limit) else f", at most {limit:g} wanted"
            lines.append(f"consumer protocol: {words}: {format_number(max(values), 2)}{of_limit}")
    return lines
