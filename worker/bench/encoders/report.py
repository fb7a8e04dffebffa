"""The report of the benchmark of several encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.bench.encoders.run import APART, TOGETHER
from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Table, format_number

if TYPE_CHECKING:
    from worker.bench.encoders.run import EncodersResults

_COLUMNS = (
    Column("s", "seconds", 1, drawn_as="seconds for a backlog"),
    Column("range", "seconds", 1, kind="range"),
    Column("start s", "start_s", 1),
    Column("idle MiB", "idle_mib"),
    Column("peak MiB", "peak_mib", drawn_as="peak resident memory, MiB"),
    Column("worker CPU ms", "worker_ms", 2),
    Column("lost", "lost"),
)


def build_report(results: EncodersResults) -> Report:
    """Return a table of both ways; the ratios compare one worker with a worker for each model."""
    ratios = {name: results.runs.ratio(TOGETHER, APART, name) for name in ("seconds", "start_s", "peak_mib")}
    lost = results.runs.total("lost")
    seconds, memory = (format_number(ratios[name], 2) or "unknown" for name in ("seconds", "peak_mib"))
    caption = "Medians. s: from the last record of the backlog to its last output. Memory is that of all workers together."
    return Report(
        title="Several models",
        claim=f"one worker with all models takes {seconds} times as long and {memory} times the memory; lost {lost}",
        machine=results.machine,
        tables=[Table(title="Several models", runs=results.runs, columns=_COLUMNS, caption=caption)],
        notes=results.notes,
        is_good=not lost,
        summary={"ratio": ratios, "lost": lost},
    )
