"""The command line of the benchmarks, each a subcommand of `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from worker.settings import DEFAULT_MODEL

# What several of them take.
_Deliveries: TypeAlias = Annotated[str, typer.Option(help="Ways of delivery, comma-separated. Unset: all.")]
_Partitions: TypeAlias = Annotated[int, typer.Option(min=1, help="Partitions of the topics.")]
_Seconds: TypeAlias = Annotated[float, typer.Option(min=2, help="How long each load is offered.")]
_Quick: TypeAlias = Annotated[bool, typer.Option("--quick", help="Less of everything: two minutes.")]
_Count: TypeAlias = Annotated[int, typer.Option(min=100, help="Messages of each backlog.")]
_Json: TypeAlias = Annotated[Path | None, typer.Option("--output", help="Write the results to this file, as JSON.")]
_Plot: TypeAlias = Annotated[Path | None, typer.Option(help="Draw the results here, as PNG.")]
_Cache: TypeAlias = Annotated[Path, typer.Option(help="Where fetched texts are kept.")]


def stream(
    *,
    workers: Annotated[str, typer.Option(help="How many workers, comma-separated: each number is measured.")] = "1",
    delivery: _Deliveries = "",
    partitions: _Partitions = 8,
    count: Annotated[int, typer.Option(min=100, help="Messages of the backlog.")] = 20_000,
    seconds: _Seconds = 15.0,
    quick: _Quick = False,
    json: _Json = None,
    plot: _Plot = None,
) -> None:
    """Measure throughput, latency at offered loads and the cost of the broker's side, beside the bare engine and a tuned peer."""
    from worker.commands.bench import stream as command  # noqa: PLC0415  heavy
    from worker.commands.bench.with_broker import parse_counts  # noqa: PLC0415  heavy

    raise typer.Exit(
        command.bench_stream(
            deliveries=tuple(it.strip() for it in delivery.split(",") if it.strip()),
            worker_counts=parse_counts(workers, flag="--workers"),
            num_partitions=partitions,
            count=count,
            phase_s=seconds,
            is_quick=quick,
            json_file=json,
            plot_file=plot,
        )
    )


def delivery(
    *,
    intervals: Annotated[str, typer.Option(help="Milliseconds between transactions, comma-separated.")] = "10,30,100,300,1000",
    partitions: Annotated[str, typer.Option(help="Partitions of the topics, comma-separated.")] = "1,2,8,32",
    rounds: Annotated[int, typer.Option(min=1, help="How often 100 ms and 8 partitions are measured.")] = 3,
    count: _Count = 12_000,
    seconds: _Seconds = 6.0,
    quick: _Quick = False,
    json: _Json = None,
    plot: _Plot = None,
) -> None:
    """Measure what exactly once costs in throughput, latency and processor time, beside at least once."""
    from worker.commands.bench import delivery as command  # noqa: PLC0415  heavy
    from worker.commands.bench.with_broker import parse_counts  # noqa: PLC0415  heavy

    raise typer.Exit(
        command.bench_delivery(
            intervals_ms=parse_counts(intervals, flag="--intervals"),
            partition_counts=parse_counts(partitions, flag="--partitions"),
            num_rounds=rounds,
            count=count,
            phase_s=seconds,
            is_quick=quick,
            json_file=json,
            plot_file=plot,
        )
    )


def lanes(
    *,
    loads: Annotated[str, typer.Option(help="Live loads, percent of the capacity, comma-separated.")] = "10,25,50",
    backfill_tokens: Annotated[int, typer.Option(min=8, help="Backfill fills a forward pass up to so many tokens.")] = 1024,
    partitions: _Partitions = 8,
    rounds: Annotated[int, typer.Option(min=1, help="How often each load is offered, with and without.")] = 3,
    count: Annotated[int, typer.Option(min=100, help="Messages of the first backlog, which shows the capacity.")] = 12_000,
    seconds: _Seconds = 10.0,
    json: _Json = None,
    plot: _Plot = None,
) -> None:
    """Measure what a backfill beside them costs live messages, and what it gets."""
    from worker.commands.bench import lanes as command  # noqa: PLC0415  heavy
    from worker.commands.bench.with_broker import parse_counts  # noqa: PLC0415  heavy

    raise typer.Exit(
        command.bench_lanes(
            percents=parse_counts(loads, flag="--loads"),
            max_backfill_batch_tokens=backfill_tokens,
            num_partitions=partitions,
            num_rounds=rounds,
            count=count,
            phase_s=seconds,
            json_file=json,
            plot_file=plot,
        )
    )


def scale(
    *,
    replicas: Annotated[str, typer.Option(help="Numbers of replicas, comma-separated, one core each.")] = "1,2",
    partitions: Annotated[str, typer.Option(help="Partitions, comma-separated; the first for all numbers of replicas.")] = "8,2,32",
    delivery: _Deliveries = "",
    count: _Count = 12_000,
    seconds: _Seconds = 8.0,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything.")] = False,
    json: _Json = None,
    plot: _Plot = None,
) -> None:
    """Measure throughput and latency by replicas and partitions, and what it costs when a replica joins, leaves or dies."""
    from worker.commands.bench import scale as command  # noqa: PLC0415  heavy
    from worker.commands.bench.with_broker import parse_counts  # noqa: PLC0415  heavy

    raise typer.Exit(
        command.bench_scale(
            deliveries=tuple(it.strip() for it in delivery.split(",") if it.strip()),
            replica_counts=parse_counts(replicas, flag="--replicas"),
            partition_counts=parse_counts(partitions, flag="--partitions"),
            count=count,
            phase_s=seconds,
            is_quick=quick,
            json_file=json,
            plot_file=plot,
        )
    )


def knobs(
    *,
    delivery: Annotated[str, typer.Option(help="The way of delivery.")] = "at_least_once",
    count: _Count = 12_000,
    seconds: _Seconds = 8.0,
    quick: Annotated[bool, typer.Option("--quick", help="Two knobs only, and less of everything.")] = False,
    json: _Json = None,
    table: Annotated[Path | None, typer.Option(help="Write the table here, as Markdown.")] = None,
) -> None:
    """Turn one knob after another, and measure what each does to throughput, latency and memory."""
    from worker.commands.bench import scale as command  # noqa: PLC0415  heavy

    raise typer.Exit(
        command.bench_knobs(delivery=delivery, count=count, phase_s=seconds, is_quick=quick, json_file=json, table=table)
    )


def bench_encodings(
    *,
    model: Annotated[str, typer.Option(help="The model whose vectors are written.")] = DEFAULT_MODEL,
    count: Annotated[int, typer.Option(min=200, help="How many sentences.")] = 4000,
    cache: _Cache = Path(".data"),
    json_path: Annotated[Path | None, typer.Option("--output", help="Write all figures to this file, as JSON.")] = None,
) -> None:
    """Measure what each encoding of vectors weighs, and what it costs whoever searches."""
    from worker.commands.bench import encodings as command  # noqa: PLC0415

    command.bench_encodings(model=model, count=count, cache=cache, json_path=json_path)


def bench_engine(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="The essential, within a minute.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads of everybody. 0: one for each core that the process may use.")] = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where everybody runs. auto: on a GPU if there is one.")
    ] = "auto",
    json_path: Annotated[Path | None, typer.Option("--output", help="Write all figures to this file, as JSON.")] = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Draw them into this PNG.")] = None,
    cache: _Cache = Path(".data"),
) -> None:
    """Run our engine, the usual libraries and the bare matrix products in turn, on the same texts."""
    from worker.commands.bench import engine as command  # noqa: PLC0415

    command.bench_engine(is_quick=quick, threads=threads, device=device, json_path=json_path, plot_path=plot_path, cache=cache)


def bench_profile(
    *,
    threads: Annotated[int, typer.Option(min=0, help="Threads. 0: one for each core that the process may use.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many texts.")] = 2048,
) -> None:
    """Show what a pass of the engine goes into: matrix products, attention, norms, heads, the rest."""
    from worker.commands.bench import profile as command  # noqa: PLC0415

    command.bench_profile(threads=threads, count=count)
