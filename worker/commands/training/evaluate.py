"""Evaluate a model on held-out texts: tables, JSON and a plot."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args

from rich.text import Text

from worker.commands.terminal import Terminal
from worker.commands.training.layout_flags import split_by_kind
from worker.errors import BadSettings
from worker.model.backends.choice import BackendName
from worker.model.devices import Dtype
from worker.training.data.corpora import TYPES
from worker.training.data.examples import LabelledData, TaggedData
from worker.training.data.layout import Layout
from worker.training.data.read import read
from worker.training.evaluation import plot, report, table
from worker.training.evaluation.evaluate import EvaluateOptions
from worker.training.evaluation.evaluate import evaluate as measure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def evaluate(
    *,
    model: str,
    labels: Sequence[Path],
    entities: Sequence[Path],
    against: str | None,
    json_path: Path | None,
    plot_path: Path | None,
    num_examples: int,
    dtype: str,
    backend: str,
    seed: int,
    layout: Layout | None = None,
) -> None:
    """Print the tables to standard output and the progress to standard error; raises `BadSettings`."""
    if not labels and not entities:
        raise BadSettings("give texts to evaluate on: --labels FILE, --entities FILE, or both")
    _check_outputs(json_path, plot_path)
    label_layout, entity_layout = split_by_kind(layout or Layout(), has_labels=bool(labels))
    options = EvaluateOptions(
        model=model,
        against=against,
        dtype=_check_choice(Dtype, "--dtype", dtype),
        backend=_check_choice(BackendName, "--backend", backend),
        types=TYPES.names,
        report=report.EvaluationOptions(num_examples=num_examples, seed=seed),
    )
    progress = Terminal(stderr=True)
    found = measure(
        options,
        [_read_labelled(path, label_layout) for path in labels],
        [_read_tagged(path, entity_layout) for path in entities],
        lambda line: progress.print(Text(line, style="dim")),
    )
    console = Terminal(width=None if sys.stdout.isatty() else 170)
    for part in table.render(found):
        console.print(part, soft_wrap=True)
    _write(found, json_path, plot_path)


def _check_outputs(json_path: Path | None, plot_path: Path | None) -> None:
    """Raise `BadSettings` before the evaluation if its results cannot be written."""
    for path in (json_path, plot_path):
        if path and not path.absolute().parent.is_dir():
            raise BadSettings(f"{path}: there is no such directory")
    if plot_path and not find_spec("matplotlib"):
        raise BadSettings("matplotlib is not installed: pip install 'gist-stream[train]'")


def _write(found: report.EvaluationReport, json_path: Path | None, plot_path: Path | None) -> None:
    if json_path:
        json_path.write_text(json.dumps(found.as_json(), indent=2, allow_nan=False) + "\n")
    if plot_path:
        plot.draw(found, plot_path)


def _read_labelled(path: Path, layout: Layout) -> LabelledData:
    data = read(path, layout)
    if not isinstance(data, LabelledData):
        raise BadSettings(f"{path}: the kind of the file is {data.kind}; --labels needs texts with labels")
    return data


def _read_tagged(path: Path, layout: Layout) -> TaggedData:
    data = read(path, replace(layout, joins_handles=True))
    if not isinstance(data, TaggedData):
        raise BadSettings(f"{path}: the kind of the file is {data.kind}; --entities needs texts with entities")
    return data


def _check_choice(kind: Any, flag: str, value: str) -> Any:
    """Return the value; raises `BadSettings` if the literal type does not have it."""
    if value not in get_args(kind):
        raise BadSettings(f"{flag}: {value!r} is not one of {', '.join(get_args(kind))}")
    return value
