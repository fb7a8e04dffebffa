"""Train the run that a file or flags define, and print the model card."""

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
    target: Path | None,
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
    """Train with progress on standard error; print the model card of each new checkpoint. Raises `BadSettings` and `BadModel`."""
    layout = layout or Layout()
    if target is not None and target.suffix == ".toml":
        if labels or ner_train or ner_test:
            raise BadSettings(f"{target} defines the data: leave --labels, --ner-train and --ner-test out")
        if layout != Layout():
            raise BadSettings(f"{target} defines the layout of files: set text_column, label_column and format in its [heads.data]")
        run = read(target, {**overrides, **({"data_directory": data_directory} if data_directory else {})})
    else:
        place = {"output": target} if target is not None else {}
        run = check_run(_build_values(labels, ner_train, ner_test, layout) | place | dict(overrides), source="flags")
    if strategy is not None:
        run = check_run(run.model_dump() | {"training": run.training.model_dump() | {"strategy": strategy}}, source="flags")
    run = run.model_copy(update={"encoder": pinned(run.encoder)})
    reporter = build_reporter(sys.stderr)
    for directory in train_run(run, reporter, is_fresh=is_fresh):
        sys.stdout.write((directory / "README.md").read_text())


def _build_values(labels: Sequence[Path], ner_train: Sequence[Path], ner_test: Sequence[Path], layout: Layout) -> dict[str, Any]:
    """Return the values of a run with a label head and, if `ner_train` has files, a head for persons, organisations and places."""
    if ner_test and not ner_train:
        raise BadSettings("--ner-test needs --ner-train: only a trained entity head has a score")
    if layout != Layout() and not labels and not ner_train:
        raise BadSettings("--text-column, --label-column and --format need --labels or --ner-train: they describe files")
    label_data, entity_data = (
        {"format": own.format, "text_column": own.text_column, "label_column": own.label_column}
        for own in split_by_kind(layout, has_labels=bool(labels))
    )
    ratings = {"name": "sentiment", "data": {"builtin": "ratings"}}
    label_head = {"name": "labels", "data": {"train": labels} | label_data} if labels else ratings
    heads: list[dict[str, Any]] = [{"task": "classify", **label_head}]
    if ner_train:
        data = {
            "train": ner_train,
            "test": ner_test,
            "labels": dict(TYPES.names),
            "drops_other_labels": TYPES.drops_others,
            "joins_handles": True,
            "skips_untagged_handles": True,
        } | entity_data
        heads.append({"name": "ner", "task": "ner", "data": data})
    return {"heads": heads, "encoder": DEFAULT_ENCODER}
