"""The commands `bench scale` and `bench sweep`."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.bench import flags
from worker.commands.bench.with_broker import benchmark, check_packages
from worker.settings import read


def scale(
    *,
    replicas: Annotated[str, typer.Option(help="Numbers of replicas, comma-separated; each replica has one core.")] = "1,2",
    partitions: Annotated[
        str, typer.Option(help="Numbers of partitions, comma-separated; the first with all numbers of replicas.")
    ] = "8,2,32",
    delivery: flags.Delivery = "",
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 8.0,
    quick: flags.Quick = False,
    as_json: flags.AsJson = False,
    as_markdown: flags.AsMarkdown = False,
    output: flags.OutputFile = None,
    plot: flags.PlotFile = None,
) -> int:
    """Measure throughput by replicas and partitions, and the pause when a replica joins, leaves, is killed or restarts."""
    check_packages()
    from worker.bench.scale import report, run  # noqa: PLC0415  needs the checked packages

    plan = run.ScalePlan(
        deliveries=flags.parse_deliveries(delivery),
        replica_counts=flags.parse_counts(replicas, flag="--replicas"),
        partition_counts=flags.parse_counts(partitions, flag="--partitions"),
        num_backlog=count,
        phase_s=seconds,
    )
    plan = plan.shorten() if quick else plan
    outputs = flags.build_outputs(as_json=as_json, as_markdown=as_markdown, file=output, plot=plot)
    return benchmark(lambda context: run.run(plan, context), report.build_report, outputs)


def sweep(
    changes: Annotated[
        list[str],
        typer.Argument(metavar="SETTING=VALUE...", help="Settings to measure one at a time; `partitions` and `replicas`, too."),
    ],
    *,
    delivery: flags.Delivery = "at_least_once",
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 8.0,
    as_json: flags.AsJson = False,
    as_markdown: flags.AsMarkdown = False,
    output: flags.OutputFile = None,
    plot: flags.PlotFile = None,
) -> int:
    """Measure throughput, latency and memory with one setting changed at a time; the defaults run first and last.

    Commas join settings that belong together: max_in_flight_tokens=8192,resume_in_flight_tokens=4096
    """
    check_packages()
    from worker.bench.scale import report, run  # noqa: PLC0415  needs the checked packages

    modes = [mode for name in flags.parse_deliveries(delivery) for mode in run.build_sweep(changes, name)]
    for mode in modes:
        # A wrong setting fails before anything is measured.
        read(dict(mode.settings))
    plan = run.ScalePlan(deliveries=(), num_backlog=count, phase_s=seconds, kinds=())
    outputs = flags.build_outputs(as_json=as_json, as_markdown=as_markdown, file=output, plot=plot)
    return benchmark(lambda context: run.measure_modes(plan, context, modes), report.build_report, outputs)
