"""The command `bench engine`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from worker.bench.engine import plan, run
from worker.bench.engine.job import Batching
from worker.bench.engine.report import build_report
from worker.bench.frame.context import ENGINE_BATCH_TOKENS
from worker.commands.bench import flags
from worker.errors import BadSettings
from worker.settings import DEFAULT_MODEL, Settings
from worker.training.data.corpora import rated_sentences


def engine(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Measure less: at most a minute.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads of each candidate. 0: one for each core of the process.")] = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Device of all candidates. auto: a GPU if there is one.")
    ] = "auto",
    cache: flags.Cache = Path(".data"),
    as_json: flags.AsJson = False,
    as_markdown: flags.AsMarkdown = False,
    output: flags.OutputFile = None,
    plot: flags.PlotFile = None,
) -> None:
    """Measure the backends, the usual libraries and the bare matrix products in turn, on the same texts."""
    outputs = flags.build_outputs(as_json=as_json, as_markdown=as_markdown, file=output, plot=plot)
    progress = Console(stderr=True, highlight=False, style="dim")
    device_name = run.choose_device() if device == "auto" else device
    results = run.run(
        plan.build_plan(is_quick=quick, is_gpu=device_name == "cuda"),
        threads=threads or len(os.sched_getaffinity(0)),
        device=device_name,
        batching=Batching(**_read_defaults() | {"max_batch_tokens": ENGINE_BATCH_TOKENS}),
        checkpoint=DEFAULT_MODEL,
        texts=_read_texts(cache, progress),
        say=progress.print,
    )
    outputs.write(build_report(results), flags.build_console())


def _read_defaults() -> dict[str, int]:
    """Return the defaults of the settings that bound a batch."""
    return {name: Settings.model_fields[name].default for name in Batching.__dataclass_fields__}


def _read_texts(cache: Path, progress: Console) -> list[str]:
    """Return the real corpus, or nothing and a message if it cannot be fetched."""
    try:
        return [sentence.text for sentence in rated_sentences(cache)]
    except BadSettings as error:
        progress.print(f"without the real corpus: {error}", style="yellow", markup=False)
        return []
