"""Calibrate a model for int8 matrix products, and print the difference from fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from worker.errors import BadModel
from worker.model import quantization as calibration
from worker.training.data.corpora import read_texts, sample_texts

if TYPE_CHECKING:
    from pathlib import Path

    from worker.model.quantization import Difference


def quantize(*, output: Path, model: str, texts: Path | None, count: int, cache: Path, is_forced: bool) -> None:
    """Write a calibrated copy of `model` to `output`; raises `BadModel` if it differs too much from fp32, unless `is_forced`."""
    if not is_forced and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadModel(f"{output}: there is something already; --force writes over it")
    found = calibration.quantize(model, sample_texts(read_texts(texts, cache), count), output, is_forced=is_forced)
    console = Console(highlight=False)
    console.print(build_table(found))
    console.print(f"written to {output}; serve it with GIST_MODEL={output} GIST_DTYPE=int8", soft_wrap=True)


def build_table(found: Difference) -> Table:
    """Return the table of differences between int8 and fp32."""
    table = Table(title="int8 compared with fp32", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_row("held-out texts", f"{found.num_texts}")
    table.add_row("cosine of both vectors of a text, minimum", f"{found.min_cosine:.4f}")
    table.add_row("  1st percentile", f"{found.p01_cosine:.4f}")
    table.add_row("  mean", f"{found.mean_cosine:.4f}")
    table.add_row("equal labels", f"{found.label_agreement:.1%}")
    table.add_row("entity F1, with the entities of fp32 as the truth", f"{found.entity_f1:.3f}")
    return table
