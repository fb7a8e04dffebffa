"""Benchmark the engine and print what came out: tables, JSON, a picture."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from worker.bench.engine import machine, plot, summary, table
from worker.bench.engine import plan as plans
from worker.bench.engine.job import Batching
from worker.bench.engine.run import run
from worker.errors import BadSettings
from worker.settings import DEFAULT_MODEL, Settings
from worker.training.data.corpora import rated_sentences

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.engine.measures import CandidateResult


def bench_engine(*, is_quick: bool, threads: int, device: str, json_path: Path | None, plot_path: Path | None, cache: Path) -> None:
    """Run the benchmark; what it is doing goes to standard error, the tables to standard output."""
    for path in (json_path, plot_path):
        if path and not path.absolute().parent.is_dir():
            raise BadSettings(f"{path}: there is no such directory")
    if plot_path and not find_spec("matplotlib"):
        raise BadSettings("matplotlib is not installed: pip install 'gist-stream[bench]'")
    progress = Console(stderr=True)
    device = machine.fastest_device() if device == "auto" else device
    plan = plans.quick() if is_quick else plans.full()
    result = run(
        plans.on_gpu(plan) if device == "cuda" else plan,
        threads=threads or len(os.sched_getaffinity(0)),
        device=device,
        batching=_batching(),
        checkpoint=DEFAULT_MODEL,
        texts=_texts(cache, progress),
        say=lambda line: progress.print(Text(line, style="dim")),
    )
    _print(Console(width=None if sys.stdout.isatty() else 170), result)
    if json_path:
        json_path.write_text(json.dumps(summary.as_json(result), indent=2) + "\n")
    if plot_path:
        plot.draw(result, plot_path)


def _batching() -> Batching:
    """Return how the worker batches unless it is told otherwise."""
    defaults = {name: Settings.model_fields[name].default for name in Batching.__dataclass_fields__}
    return Batching(**defaults)


def _texts(cache: Path, progress: Console) -> list[str]:
    """Return the real corpus; none, and a word about it, where it cannot be fetched."""
    try:
        return [it.text for it in rated_sentences(cache)]
    except BadSettings as error:
        progress.print(Text(f"without the real corpus: {error}", style="yellow"))
        return []


def _print(console: Console, result: CandidateResult) -> None:
    for panel in result.panels:
        console.print(table.panel_table(panel))
        console.print()
    for line in (*table.notes(result), Text(), *table.summary_lines(result), Text(), table.machine_line(result.machine)):
        console.print(line, soft_wrap=True)
    console.print(f"took {result.seconds:.0f} s", style="dim")
