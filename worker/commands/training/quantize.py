"""Calibrate a model for 8-bit products, and print what they cost in exactness."""

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
    """Write a calibrated copy of `model` to `output`; raises `BadModel` where it is too far from fp32, unless forced."""
    if not is_forced and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadModel(f"{output}: there is something already; --force writes over it")
    found = calibration.quantize(model, sample_texts(read_texts(texts, cache), count), output, is_forced=is_forced)
    console = Console(highlight=False)
    console.print(report(found))
    console.print(f"written to {output}; serve it with GIST_MODEL={output} GIST_DTYPE=int8", soft_wrap=True)


def report(found: Difference) -> Table:
    """Return how far 8-bit products are from fp32."""
    table = Table(title="8-bit products against fp32", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_row("texts, none of them calibrated on", f"{found.num_texts}")
    table.add_row("cosine of a text's two vectors, least", f"{found.min_cosine:.4f}")
    table.add_row("  worst hundredth", f"{found.p01_cosine:.4f}")
    table.add_row("  mean", f"{found.mean_cosine:.4f}")
    table.add_row("labels that are the same", f"{found.label_agreement:.1%}")
    table.add_row("F1 of the entities, those of fp32 being true", f"{found.entity_f1:.3f}")
    return table
