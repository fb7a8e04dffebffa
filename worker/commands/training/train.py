"""Train the run that a file or flags define, and print the model card."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.commands.training import flags
from worker.errors import BadSettings
from worker.model.checkpoint.references import pinned
from worker.training.config import check_run, read
from worker.training.data.corpora import TYPES
from worker.training.data.layout import Layout
from worker.training.progress import build_reporter

Files = list[Path] | None
Target = Annotated[
    Path | None,
    typer.Argument(
        help="A TOML file that defines the run, or the directory of the new checkpoint if flags define the run. "
        "Unset: models/heads. Example: run.toml."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="The directory of the new checkpoint. Unset: the argument, the key output of the TOML file, or models/heads."
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="The encoder: a directory, a package: reference or a Hugging Face name. A name without a revision is pinned to "
        "the newest commit. Unset: the key encoder of the TOML file, or the MiniLM encoder of a Python package. "
        "Example: sentence-transformers/all-MiniLM-L6-v2."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="The name of the checkpoint in its model card. Unset: the key name of the TOML file, or heads. Example: tickets."
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        help="The training strategy, which decides whether heads only or also the encoder are trained: frozen, end-to-end, "
        "then-freeze, transfer, trunk or separate. Unset: the TOML file, or frozen, the fastest. docs/models/training.md compares "
        "them. Example: end-to-end."
    ),
]
Labels = Annotated[
    Files,
    typer.Option(
        help="A file of labelled texts for training. Repeat the flag for more files. Unset: rated public sentences, which are "
        "downloaded at first use. Example: tickets.csv."
    ),
]
HeadName = Annotated[
    str | None,
    typer.Option(
        "--head",
        help="The name of the label head, which is the key of its labels in the output. Unset: the name in --label-column, or "
        "labels; sentiment without --labels. Example: topic.",
    ),
]
TestShare = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.5,
        help="The share of the texts that is held out for the score in the model card. Unset: 0.1 of the files that flags name. "
        "Raise it for a narrower score; 0 trains on all texts. Example: 0.2.",
    ),
]
NerTrain = Annotated[
    Files,
    typer.Option(
        help="A file of texts with entities for training; the new model then has an entity head, too. Repeat the flag for more "
        "files. Unset: no entity head. Example: train.conll."
    ),
]
NerTest = Annotated[
    Files,
    typer.Option(
        help="A file of texts with entities for the score of the entity head. Needs --ner-train. Repeat the flag for more "
        "files. Unset: a share of --ner-train. Example: test.conll."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="The directory of the data files that the TOML file names. Unset: the key data_directory of the file, or "
        "the directory of the file. Example: corpora."
    ),
]
RunCache = Annotated[
    Path | None,
    typer.Option(
        help="The directory of downloaded texts and cached encoder states. Unset: the key cache of the TOML file, or .data."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="The seed of all random choices. The same seed and number of threads give the same weights. Unset: the key "
        "seed of the TOML file, or 0. Example: 1."
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Delete the snapshot of an interrupted run and start again. Without this flag the run continues after its last epoch.",
    ),
]
_TEST_SHARE = 0.1


def run(
    target: Target = None,
    *,
    output: Output = None,
    encoder: Encoder = None,
    name: Name = None,
    strategy: Strategy = None,
    labels: Labels = None,
    head: HeadName = None,
    test_share: TestShare = None,
    text_column: flags.TextColumn = None,
    label_column: flags.LabelColumn = None,
    format_: flags.FileFormat = None,
    ner_train: NerTrain = None,
    ner_test: NerTest = None,
    data: Data = None,
    cache: RunCache = None,
    seed: Seed = None,
    fresh: Fresh = False,
) -> None:
    """Train heads on an encoder, and print the model card. Without data: a sentiment head. An interrupted run continues."""
    flags.require_packages()
    from worker.training.train import train  # noqa: PLC0415  heavy

    layout = Layout(text_column=text_column, label_column=label_column, format=format_)
    given = {"output": output, "encoder": encoder, "name": name, "cache": cache, "seed": seed}
    overrides = {key: value for key, value in given.items() if value is not None}
    if target is not None and target.suffix == ".toml":
        _refuse_data_flags(target, layout, labels or ner_train or ner_test or head or test_share is not None)
        plan = read(target, overrides | ({"data_directory": data} if data else {}))
    else:
        heads = _build_heads(labels or [], ner_train or [], ner_test or [], layout, head, test_share)
        plan = check_run(({"output": target} if target else {}) | overrides | {"heads": heads}, source="flags")
    if strategy is not None:
        plan = check_run(plan.model_dump() | {"training": plan.training.model_dump() | {"strategy": strategy}}, source="flags")
    for directory in train(plan.model_copy(update={"encoder": pinned(plan.encoder)}), build_reporter(sys.stderr), is_fresh=fresh):
        typer.echo((directory / "README.md").read_text(), nl=False)
        typer.echo(f"written to {directory}; serve it with: GIST_MODEL={directory} gist-stream run")


def _refuse_data_flags(target: Path, layout: Layout, has_data: object) -> None:
    if has_data:
        raise BadSettings(f"{target} defines the data: leave --labels, --head, --test-share, --ner-train and --ner-test out")
    if layout != Layout():
        raise BadSettings(f"{target} defines the layout of files: set text_column, label_column and format in its [heads.data]")


def _build_heads(
    labels: list[Path], ner_train: list[Path], ner_test: list[Path], layout: Layout, head: str | None, test_share: float | None
) -> list[dict[str, Any]]:
    """Return a label head and, if `ner_train` has files, a head for persons, organisations and places."""
    if ner_test and not ner_train:
        raise BadSettings("--ner-test needs --ner-train: only a trained entity head has a score")
    if not labels and not ner_train and (layout != Layout() or test_share is not None):
        raise BadSettings(
            "--text-column, --label-column, --format and --test-share need --labels or --ner-train: they describe files"
        )
    share = _TEST_SHARE if test_share is None else test_share
    label_data, entity_data = (
        dict[str, Any](format=own.format, text_column=own.text_column, label_column=own.label_column)
        for own in flags.split_by_kind(layout, has_labels=bool(labels))
    )
    if labels:
        column = layout.label_column or ""
        head = head or (column if re.fullmatch(r"[^\W\d][\w-]*", column) else "labels")
        label_data |= {"train": labels, "test_share": share}
    heads = [{"task": "classify", "name": head or "sentiment", "data": label_data if labels else {"builtin": "ratings"}}]
    if ner_train:
        entity_data |= {"train": ner_train, "test": ner_test, "test_share": 0 if ner_test else share, "labels": dict(TYPES.names)}
        entity_data |= dict.fromkeys(("drops_other_labels", "joins_handles", "skips_untagged_handles"), True)
        heads.append({"name": "ner", "task": "ner", "data": entity_data})
    return heads
