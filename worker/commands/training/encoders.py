"""Define the `distill` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.commands.training.extra import require_packages
from worker.errors import BadSettings
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.training.encoders.agreement import Agreement

Texts = Annotated[Path | None, typer.Option(help="Texts like yours, one a line. Unset: sentences that are fetched.")]
Count = Annotated[int, typer.Option(min=1, help="How many of them.")]
Epochs = Annotated[int, typer.Option(min=1, help="How often each text is read.")]
MaxSteps = Annotated[int, typer.Option(min=0, help="End after so many steps. 0: after the epochs.")]
LearningRate = Annotated[float, typer.Option(min=0, help="The rate at its highest.")]
Cache = Annotated[Path, typer.Option(help="Where fetched texts are kept.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same encoder.")]
Force = Annotated[bool, typer.Option("--force", help="Write over what is there.")]


def distill(
    output: Annotated[Path, typer.Argument(help="The directory of the student.")],
    *,
    teacher: Annotated[str, typer.Option(help="The model, or bare encoder, to learn from.")] = DEFAULT_MODEL,
    layers: Annotated[
        str, typer.Option(help="The teacher's layers to begin with, comma-separated, 1 being the first. Unset: every second.")
    ] = "",
    texts: Texts = None,
    count: Count = 20_000,
    epochs: Epochs = 1,
    max_steps: MaxSteps = 0,
    learning_rate: LearningRate = 5e-4,
    cache: Cache = Path(".data"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Make a smaller and faster encoder that says nearly what a larger one says, from texts without labels."""
    require_packages()
    from worker.training.data.corpora import read_texts, sample_texts  # noqa: PLC0415  the same
    from worker.training.encoders import steps as encoders  # noqa: PLC0415  heavy
    from worker.training.encoders.distill import DistillOptions  # noqa: PLC0415  the same
    from worker.training.encoders.distill import distill as make  # noqa: PLC0415  the same

    encoders.check_output(output, source=teacher, is_forced=force)
    options = DistillOptions(
        teacher=teacher,
        output=output,
        layers=_numbers(layers),
        steps=encoders.StepOptions(epochs=epochs, max_steps=max_steps, learning_rate=learning_rate, seed=seed),
    )
    found = make(options, sample_texts(read_texts(texts, cache), count), _progress)
    title = f"{found.num_held_out} held-out texts, against the teacher"
    _print(title, {f"its layers {', '.join(map(str, found.layers))} alone": found.before, "trained": found.after})
    speed = found.student_texts_per_s / found.teacher_texts_per_s
    typer.echo(
        f"texts a second ({found.runs_on}): student {found.student_texts_per_s:.0f}, teacher {found.teacher_texts_per_s:.0f}: "
        f"{speed:.2f} times as fast"
    )
    typer.echo(f"written to {output}; serve it with GIST_MODEL={output}")


def _print(title: str, rows: Mapping[str, Agreement]) -> None:
    from rich.console import Console  # noqa: PLC0415  heavy
    from rich.table import Table  # noqa: PLC0415  the same

    table = Table(title=title, title_justify="left")
    for name in ("encoder", "mean cosine", "worst hundredth", "Spearman of similarities", "same of ten nearest"):
        table.add_column(name, justify="left" if name == "encoder" else "right")
    for name, row in rows.items():
        interval = f"{row.spearman:.4f} ({row.spearman_low:.4f} to {row.spearman_high:.4f})"
        others = ["-" if value is None else f"{value:.4f}" for value in (row.mean_cosine, row.p01_cosine, row.top_10_overlap)]
        table.add_row(name, *others[:2], interval, others[2])
    Console(highlight=False, width=None if sys.stdout.isatty() else 150).print(table)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadSettings(f"--layers: {text!r} is not a list of whole numbers") from error


def _progress(line: str) -> None:
    typer.echo(line, err=True)
