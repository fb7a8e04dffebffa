"""Train what a file, or flags, say, and print the model card."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from worker.errors import BadSettings
from worker.model.references import pinned
from worker.training.configuration import DEFAULT_ENCODER, of, read
from worker.training.corpora import TYPES
from worker.training.progress import reporter
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
) -> None:
    """Train, and say what is happening."""
    if what is not None and what.suffix == ".toml":
        if labels or ner_train or ner_test:
            raise BadSettings(f"{what} says what is learned: leave --labels, --ner-train and --ner-test out")
        run = read(what, {**overrides, **({"data_directory": data_directory} if data_directory else {})})
    else:
        place = {"output": what} if what is not None else {}
        run = of(_from_flags(labels, ner_train, ner_test) | place | dict(overrides), source="flags")
    if strategy is not None:
        run = of(run.model_dump() | {"training": run.training.model_dump() | {"strategy": strategy}}, source="flags")
    run = run.model_copy(update={"encoder": pinned(run.encoder)})
    told = reporter(sys.stderr)
    for directory in train_run(run, told, is_fresh=is_fresh):
        sys.stdout.write((directory / "README.md").read_text())


def _from_flags(labels: Sequence[Path], ner_train: Sequence[Path], ner_test: Sequence[Path]) -> dict[str, Any]:
    """Return a run of one head that classifies and, where there are texts for it, one that finds persons, organisations, places."""
    if ner_test and not ner_train:
        raise BadSettings("--ner-test needs --ner-train: entities are scored where they are learned")
    first = {"name": "labels", "data": {"train": labels}} if labels else {"name": "sentiment", "data": {"builtin": "ratings"}}
    heads: list[dict[str, Any]] = [{"task": "classify", **first}]
    if ner_train:
        data = {
            "train": ner_train,
            "test": ner_test,
            "labels": dict(TYPES.names),
            "drops_other_labels": TYPES.drops_others,
            "joins_handles": True,
            "skips_untagged_handles": True,
        }
        heads.append({"name": "ner", "task": "ner", "data": data})
    return {"heads": heads, "encoder": DEFAULT_ENCODER}
