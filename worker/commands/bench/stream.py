"""The command `bench stream`."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.bench import flags
from worker.commands.bench.with_broker import benchmark, check_packages


def stream(
    *,
    workers: Annotated[str, typer.Option(help="Numbers of workers, comma-separated; each is measured. Example: 1,2.")] = "1",
    delivery: flags.Delivery = "",
    partitions: flags.Partitions = 8,
    count: flags.Count = 20_000,
    seconds: flags.Seconds = 15.0,
    quick: flags.Quick = False,
    as_json: flags.AsJson = False,
    as_markdown: flags.AsMarkdown = False,
    output: flags.OutputFile = None,
    plot: flags.PlotFile = None,
) -> int:
    """Measure throughput, latency at offered loads and the cost of the broker, against the bare engine and a tuned baseline.

    Settings come from the environment. Example: GIST_THREADS=1 gist-stream bench stream --quick
    """
    check_packages()
    from worker.bench.stream import report, run  # noqa: PLC0415  needs the checked packages

    plan = run.StreamPlan.build(
        deliveries=flags.parse_deliveries(delivery),
        worker_counts=flags.parse_counts(workers, flag="--workers"),
        num_partitions=partitions,
        count=count,
        phase_s=seconds,
        is_quick=quick,
    )
    outputs = flags.build_outputs(as_json=as_json, as_markdown=as_markdown, file=output, plot=plot)
    return benchmark(lambda context: run.run(plan, context), report.build_report, outputs)
