"""The command `bench profile`."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.table import Table

from worker.bench.engine import profile as profiler
from worker.bench.engine.plan import GIST_MODEL, MINILM
from worker.bench.engine.workload import mixture, write_gist_shaped
from worker.commands.bench import flags
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.references import locate
from worker.model.quantization import passes
from worker.settings import DEFAULT_MODEL
from worker.training.config import DEFAULT_ENCODER


def profile(
    *,
    threads: Annotated[int, typer.Option(min=0, help="Threads. 0: one for each core of the process.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of texts.")] = 2048,
) -> None:
    """Show the share of each operation in a forward pass: matrix products, attention, norms, heads, the rest."""
    console, published = flags.build_console(), locate(DEFAULT_ENCODER).directory
    texts = mixture(published / "tokenizer.json", count).texts
    table = Table("model", "backend", *profiler.STAGES)
    with TemporaryDirectory(prefix="gist-profile-") as name:
        gist = Path(name) / "gist-shaped"
        write_gist_shaped(gist, published)
        for title, reference in ((GIST_MODEL, str(gist)), (f"{MINILM}, with its heads", DEFAULT_MODEL)):
            loaded = checkpoint.load(reference)
            packs = list(passes(loaded.tokenizer.encode(texts)))
            found = profiler.measure(loaded, packs, threads=threads or len(os.sched_getaffinity(0)))
            for backend, shares in found.items():
                table.add_row(title, backend, *(f"{shares.get(stage, 0.0):.1%}" for stage in profiler.STAGES))
    console.print(table)
