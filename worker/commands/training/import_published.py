"""Import a published model as a checkpoint, or its head into a checkpoint."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.commands.terminal import Terminal
from worker.errors import BadSettings
from worker.model.text import trial_texts

Source = Annotated[
    str, typer.Argument(help="The published model, as in GIST_MODEL: a directory, a package: reference or org/name@<commit>.")
]
Target = Annotated[Path | None, typer.Argument(help="The directory of the new checkpoint. Unset: --add-to. Example: models/mine.")]
Name = Annotated[
    str | None,
    typer.Option(help="The name of the head in its outputs, and of the checkpoint. Unset: that of the source. Example: topics."),
]
AddTo = Annotated[
    Path | None,
    typer.Option(
        help="A checkpoint that gets the head. Its encoder must have the same weights: the heads share a forward pass. "
        "Example: models/other."
    ),
]
Texts = Annotated[
    Path | None,
    typer.Option(
        help="A file of texts for the comparison with transformers, one per line. Unset: built-in texts. Example: mine.txt."
    ),
]
Execute = Annotated[bool, typer.Option("--execute", help="Write the checkpoint. Without this flag the command only shows it.")]


def import_published(
    source: Source,
    target: Target = None,
    *,
    name: Name = None,
    add_to: AddTo = None,
    texts: Texts = None,
    execute: Execute = False,
) -> None:
    """Import a published model as a checkpoint with verified weights, and compare its head with transformers.

    The checkpoint has a copy of the published files, and its manifest names the source, the licence and the comparison. With
    --add-to, an existing checkpoint gets the head.
    """
    from worker.training import import_model as models  # noqa: PLC0415  heavy

    place = _choose_place(target, add_to)
    model = models.read_model(source, name)
    if add_to is not None:
        models.check_target(model, add_to)
    console = Terminal()
    for key, value in model.provenance.items():
        console.print(f"{key:16} {'unknown' if value is None else value}")
    if model.head is not None:
        console.print(f"{'head':16} {model.name}: {model.head.config.task}, {', '.join(model.head.config.labels)}")
    report = _compare(model, texts)
    for key, value in report.items():
        console.print(f"{key:16} {value}")
    if not execute:
        console.print(f"nothing was written; --execute writes {place}")
        return
    if add_to is not None:
        models.add_to_checkpoint(model, add_to, report)
    else:
        models.write_checkpoint(model, place, report)
    console.print(f"written to {place}; serve it with GIST_MODEL={place}")


def _choose_place(target: Path | None, add_to: Path | None) -> Path:
    """Return the directory that is written; raises `BadSettings` where it is not one, or holds something."""
    if (target is None) == (add_to is None):
        raise BadSettings("give either a directory for the checkpoint, or --add-to with a checkpoint that gets the head")
    if target is not None and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadSettings(f"{target}: there is something already; choose an empty directory")
    return add_to or target or Path()


def _compare(model: Any, texts: Path | None) -> dict[str, Any]:
    """Return the figures of the comparison; none without a head, or without transformers."""
    if model.head is None or find_spec("transformers") is None or find_spec("torch") is None:
        return {}
    from worker.training.import_report import compare_with_transformers  # noqa: PLC0415  heavy

    try:
        lines = list(trial_texts.TEXTS) if texts is None else [line for line in texts.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BadSettings(f"{texts}: {error}") from error
    if not lines:
        raise BadSettings(f"{texts}: there is no text")
    return compare_with_transformers(model, lines)
