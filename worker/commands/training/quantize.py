"""Calibrate a model for int8 matrix products, and print the difference from fp32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from worker.commands.terminal import Terminal
from worker.commands.training import flags  # noqa: TC001  typer reads annotations at run time
from worker.errors import BadModel
from worker.model.encoder import quantization as calibration
from worker.settings import DEFAULT_MODEL
from worker.training.data.corpora import read_texts, sample_texts

if TYPE_CHECKING:
    from worker.model.encoder.quantization import Difference

Count = Annotated[
    int,
    typer.Option(
        min=1,
        help="Maximum number of texts: one half calibrates, the other half measures the difference from fp32. A few thousand "
        "texts are enough.",
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Write the checkpoint even if it differs too much from fp32, and overwrite an existing one."),
]


def quantize(
    output: Annotated[Path, typer.Argument(help="The directory of the calibrated checkpoint.")],
    *,
    model: Annotated[str, typer.Option(help="The model or encoder to calibrate. Example: models/mine.")] = DEFAULT_MODEL,
    texts: flags.Texts = None,
    count: Count = 4000,
    cache: flags.Cache = Path(".data"),
    force: Force = False,
) -> None:
    """Calibrate a model for int8 matrix products on a CPU, and measure the difference from fp32."""
    if not force and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadModel(f"{output}: there is something already; --force writes over it")
    found = calibration.quantize(model, sample_texts(read_texts(texts, cache), count), output, is_forced=force)
    Terminal().print(build_table(found))
    typer.echo(f"written to {output}; serve it with GIST_MODEL={output} GIST_DTYPE=int8")


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
