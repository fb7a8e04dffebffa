"""The command `bench backfill`."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.bench import flags
from worker.commands.bench.with_broker import benchmark, check_packages
from worker.errors import BadSettings

# Above this load live records alone fill the machine.
_MAX_PERCENT = 90


def backfill(
    *,
    loads: Annotated[str, typer.Option(help="Live loads in percent of the capacity, comma-separated.")] = "10,25,50",
    backfill_tokens: Annotated[int, typer.Option(min=8, help="The setting GIST_MAX_BACKFILL_BATCH_TOKENS.")] = 1024,
    partitions: flags.Partitions = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each load, with and without backfill.")] = 3,
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 10.0,
    as_json: flags.AsJson = False,
    as_markdown: flags.AsMarkdown = False,
    output: flags.OutputFile = None,
    plot: flags.PlotFile = None,
) -> int:
    """Measure the latency of live records with and without a backfill, and the throughput of the backfill."""
    percents = flags.parse_counts(loads, flag="--loads")
    if max(percents) > _MAX_PERCENT:
        raise BadSettings(f"--loads {loads}: choose at most {_MAX_PERCENT}, so that some capacity remains for the backfill")
    check_packages()
    from worker.bench.backfill import report, run  # noqa: PLC0415  needs the checked packages

    plan = run.BackfillPlan(
        num_partitions=partitions,
        num_backlog=count,
        shares=tuple(percent / 100 for percent in percents),
        num_rounds=rounds,
        phase_s=seconds,
        max_backfill_batch_tokens=backfill_tokens,
    )
    outputs = flags.build_outputs(as_json=as_json, as_markdown=as_markdown, file=output, plot=plot)
    return benchmark(lambda context: run.run(plan, context), report.build_report, outputs)
