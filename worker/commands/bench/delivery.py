"""The command `bench delivery`."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.bench import flags
from worker.commands.bench.with_broker import benchmark, check_packages


def delivery(
    *,
    intervals: Annotated[str, typer.Option(help="Transaction intervals in ms, comma-separated.")] = "10,30,100,300,1000",
    partitions: Annotated[str, typer.Option(help="Numbers of partitions, comma-separated.")] = "1,2,8,32",
    rounds: Annotated[int, typer.Option(min=1, help="Runs with 100 ms and 8 partitions.")] = 3,
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 6.0,
    quick: flags.Quick = False,
    as_json: flags.AsJson = False,
    as_markdown: flags.AsMarkdown = False,
    output: flags.OutputFile = None,
    plot: flags.PlotFile = None,
) -> int:
    """Measure throughput, latency and processor time of exactly-once delivery, in turn with at-least-once delivery."""
    check_packages()
    from worker.bench.delivery import report, run  # noqa: PLC0415  needs the checked packages

    plan = run.DeliveryPlan.build(
        intervals_ms=flags.parse_counts(intervals, flag="--intervals"),
        partition_counts=flags.parse_counts(partitions, flag="--partitions"),
        num_rounds=rounds,
        count=count,
        phase_s=seconds,
        is_quick=quick,
    )
    outputs = flags.build_outputs(as_json=as_json, as_markdown=as_markdown, file=output, plot=plot)
    return benchmark(lambda context: run.run(plan, context), report.build_report, outputs)
