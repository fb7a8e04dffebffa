"""Distil an encoder into a smaller one, and print the agreement of both."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from worker.commands.terminal import Terminal
from worker.commands.training import flags
from worker.errors import BadSettings
from worker.settings import DEFAULT_MODEL
from worker.training.data.corpora import read_texts, sample_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.training.encoders.distill import Agreement

Layers = Annotated[
    str,
    typer.Option(
        help="The layers of the teacher that the student copies, separated by commas; 1 is the first. Fewer layers are faster and "
        "less similar. Unset: every second layer. Example: 2,4,6."
    ),
]
Count = Annotated[
    int, typer.Option(min=1, help="Maximum number of texts to train on. More texts bring the student closer and take longer.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Number of passes over all texts. Raise the number if you have few texts.")]
MaxSteps = Annotated[
    int, typer.Option(min=0, help="Maximum number of optimizer steps, for a quick trial. 0: no maximum. Example: 100.")
]
LearningRate = Annotated[
    float, typer.Option(min=0, help="The highest learning rate, after the warm-up. Lower the rate if the loss does not fall.")
]


def distill(
    output: Annotated[Path, typer.Argument(help="The directory of the new encoder, the student.")],
    *,
    teacher: Annotated[str, typer.Option(help="The model or encoder that the student imitates.")] = DEFAULT_MODEL,
    layers: Layers = "",
    texts: flags.Texts = None,
    count: Count = 20_000,
    epochs: Epochs = 1,
    max_steps: MaxSteps = 0,
    learning_rate: LearningRate = 5e-4,
    cache: flags.Cache = Path(".data"),
    seed: Annotated[int, typer.Option(min=0, help="The seed of all random choices. The same seed gives the same encoder.")] = 0,
    force: flags.Force = False,
) -> None:
    """Distil a smaller, faster encoder whose vectors are close to those of its teacher, from texts without labels."""
    flags.require_packages()
    from worker.training.encoders import distill as distillation  # noqa: PLC0415  heavy
    from worker.training.encoders import steps  # noqa: PLC0415  heavy

    steps.check_output(output, source=teacher, is_forced=force)
    options = distillation.DistillOptions(
        teacher=teacher,
        output=output,
        layers=_parse_numbers(layers),
        steps=steps.StepOptions(epochs=epochs, max_steps=max_steps, learning_rate=learning_rate, seed=seed),
    )
    found = distillation.distill(options, sample_texts(read_texts(texts, cache), count), partial(typer.echo, err=True))
    copied = f"the teacher's layers {', '.join(map(str, found.layers))} alone"
    _print_agreement(f"{found.num_held_out} held-out texts, against the teacher", {copied: found.before, "trained": found.after})
    typer.echo(
        f"texts per second ({found.runs_on}): student {found.student_texts_per_s:.0f}, teacher {found.teacher_texts_per_s:.0f}: "
        f"{found.student_texts_per_s / found.teacher_texts_per_s:.2f} times as fast"
    )
    typer.echo(f"written to {output}; serve it with GIST_MODEL={output}")


def _print_agreement(title: str, rows: Mapping[str, Agreement]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("encoder", overflow="fold")
    for name in ("mean cosine", "1st percentile", "Spearman of similarities", "common nearest 10"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        interval = f"{row.spearman:.4f} ({row.spearman_low:.4f} to {row.spearman_high:.4f})"
        others = ["-" if value is None else f"{value:.4f}" for value in (row.mean_cosine, row.p01_cosine, row.top_10_overlap)]
        table.add_row(name, *others[:2], interval, others[2])
    Terminal(width=None if sys.stdout.isatty() else 150).print(table)


def _parse_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadSettings(f"--layers: {text!r} is not a list of whole numbers") from error
