"""Profile a pass and print what it goes into."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from worker.bench.engine import profile
from worker.bench.engine.plan import GIST_SHAPE, MINILM
from worker.bench.engine.workload import mixture, write_gist_shaped
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.references import locate
from worker.model.quantization import passes
from worker.settings import DEFAULT_MODEL
from worker.training.config import DEFAULT_ENCODER


def bench_profile(*, threads: int, count: int) -> None:
    """Profile both shapes over `count` texts of the mixture; raises `BadModel` where no compiled way is here."""
    console, published = Console(highlight=False, width=None if sys.stdout.isatty() else 150), locate(DEFAULT_ENCODER).directory
    texts = mixture(published / "tokenizer.json", count).texts
    table = Table("model", "runs on", *profile.STAGES)
    with TemporaryDirectory(prefix="gist-profile-") as name:
        gist = Path(name) / "gist-shaped"
        write_gist_shaped(gist, published)
        for title, reference in ((GIST_SHAPE, str(gist)), (f"{MINILM}, with its heads", DEFAULT_MODEL)):
            loaded = checkpoint.load(reference)
            packs = list(passes(loaded.tokenizer.encode(texts)))
            for runs_on, shares in profile.measure(loaded, packs, threads=threads or len(os.sched_getaffinity(0))).items():
                table.add_row(title, runs_on, *(f"{shares.get(it, 0.0):.1%}" for it in profile.STAGES))
    console.print(table)
