"""Define the flags of `train run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
        help="The directory of the new checkpoint. Unset: the argument, the key output of the TOML file, or models/heads.",
        show_default=False,
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="The encoder: a directory, a package: reference or a Hugging Face name. A name without a revision is pinned to "
        "the newest commit. Unset: the key encoder of the TOML file, or the MiniLM encoder of a Python package. "
        "Example: sentence-transformers/all-MiniLM-L6-v2.",
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="The name of the checkpoint in its model card. Unset: the key name of the TOML file, or heads. Example: tickets.",
        show_default=False,
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        help="The training strategy, which decides whether heads only or also the encoder are trained: frozen, end-to-end, "
        "then-freeze, transfer, trunk or separate. Unset: the TOML file, or frozen, the fastest. docs/training.md compares "
        "them. Example: end-to-end.",
        show_default=False,
    ),
]
Labels = Annotated[
    list[Path] | None,
    typer.Option(
        help="A file of labelled texts for training. Repeat the flag for more files. Unset: rated public sentences, which are "
        "downloaded at first use. Example: tickets.csv.",
        show_default=False,
    ),
]
NerTrain = Annotated[
    list[Path] | None,
    typer.Option(
        help="A file of texts with entities for training; the new model then has an entity head, too. Repeat the flag for more "
        "files. Unset: no entity head. Example: train.conll.",
        show_default=False,
    ),
]
NerTest = Annotated[
    list[Path] | None,
    typer.Option(
        help="A file of texts with entities for the score of the entity head. Needs --ner-train. Repeat the flag for more "
        "files. Unset: no score on test texts. Example: test.conll.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="The directory of the data files that the TOML file names. Unset: the key data_directory of the file, or "
        "the directory of the file. Example: corpora.",
        show_default=False,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="The directory of downloaded texts and cached encoder states. Unset: the key cache of the TOML file, or .data.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="The seed of all random choices. The same seed and number of threads give the same weights. Unset: the key "
        "seed of the TOML file, or 0. Example: 1.",
        show_default=False,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Delete the snapshot of an interrupted run and start again. Without this flag the run continues after its last epoch.",
    ),
]
