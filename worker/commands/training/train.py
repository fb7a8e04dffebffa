"""Train what a file, or flags, say, and print the model card."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from worker.commands.training.layout_flags import split_by_kind
from worker.errors import BadSettings
from worker.model.checkpoint.references import pinned
from worker.training.config import DEFAULT_ENCODER, check_run, read
from worker.training.data.corpora import TYPES
from worker.training.data.layout import Layout
from worker.training.progress import build_reporter
from worker.training.train import train as train_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def train(
    what: Path | None,
    *,
    overrides: Mapping[str, Any],
    strategy: str | None,
    data_directory: Path | None,
    labels: Sequence[Path],
    ner_train: Sequence[Path],
    ner_test: Sequence[Path],
    is_fresh: bool,
    layout: Layout | None = None,
) -> None:
    """Train, and say what is happening."""
    layout = layout or Layout()
    if what is not None and what.suffix == ".toml":
        if labels or ner_train or ner_test:
            raise BadSettings(f"{what} says what is learned: leave --labels, --ner-train and --ner-test out")
        if layout != Layout():
            raise BadSettings(f"{what} says how files are laid out: set text_column, label_column and format in its [heads.data]")
        run = read(what, {**overrides, **({"data_directory": data_directory} if data_directory else {})})
    else:
        place = {"output": what} if what is not None else {}
        run = check_run(_from_flags(labels, ner_train, ner_test, layout) | place | dict(overrides), source="flags")
    if strategy is not None:
        run = check_run(run.model_dump() | {"training": run.training.model_dump() | {"strategy": strategy}}, source="flags")
    run = run.model_copy(update={"encoder": pinned(run.encoder)})
    told = build_reporter(sys.stderr)
    for directory in train_run(run, told, is_fresh=is_fresh):
        sys.stdout.write((directory / "README.md").read_text())


def _from_flags(labels: Sequence[Path], ner_train: Sequence[Path], ner_test: Sequence[Path], layout: Layout) -> dict[str, Any]:
    """Return a run of one head that classifies and, where there are texts for it, one that finds persons, organisations, places."""
    if ner_test and not ner_train:
        raise BadSettings("--ner-test needs --ner-train: entities are scored where they are learned")
    if layout != Layout() and not labels and not ner_train:
        raise BadSettings("--text-column, --label-column and --format need --labels or --ner-train: they describe files")
    of_labels, of_entities = (
        {"format": of_kind.format, "text_column": of_kind.text_column, "label_column": of_kind.label_column}
        for of_kind in split_by_kind(layout, has_labels=bool(labels))
    )
    rated = {"name": "sentiment", "data": {"builtin": "ratings"}}
    first = {"name": "labels", "data": {"train": labels} | of_labels} if labels else rated
    heads: list[dict[str, Any]] = [{"task": "classify", **first}]
    if ner_train:
        data = {
            "train": ner_train,
            "test": ner_test,
            "labels": dict(TYPES.names),
            "drops_other_labels": TYPES.drops_others,
            "joins_handles": True,
            "skips_untagged_handles": True,
        } | of_entities
        heads.append({"name": "ner", "task": "ner", "data": data})
    return {"heads": heads, "encoder": DEFAULT_ENCODER}
