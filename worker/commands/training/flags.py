"""Flags and checks that several training commands share."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from worker.errors import BadSettings
from worker.training.data.layout import Format, Layout

_SCOPE = "Where a command reads files with labels and files with entities, the flag describes those with labels."
TextColumn = Annotated[
    str | None,
    typer.Option(
        help="The column with the text or word: its name, or its number from 1. Unset: found by its usual names. "
        f"Example: body. {_SCOPE}"
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="The column with label, labels, spans or tag: its name, or its number from 1. Unset: found by its usual names. "
        f"Example: mood. {_SCOPE}"
    ),
]
FileFormat = Annotated[
    Format | None,
    typer.Option(
        "--format", help=f"The format of the files. Unset: found by the extension or the first lines. Example: csv. {_SCOPE}"
    ),
]
JoinHandles = Annotated[
    bool, typer.Option("--join-handles", help="Join a lone `@` with the next word, for corpora that split handles into two words.")
]
Texts = Annotated[
    Path | None,
    typer.Option(
        help="A file of texts like those of your input topic, one per line. Unset: public sentences, which are downloaded at first "
        "use. Example: tickets.txt."
    ),
]
Cache = Annotated[Path, typer.Option(help="The directory of downloaded texts and cached encoder states.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files. Without this flag they are an error.")]


def split_by_kind(layout: Layout, *, has_labels: bool) -> tuple[Layout, Layout]:
    """Return the layouts of files with labels and of files with entities. The flags describe only the first kind that is given."""
    return (layout, Layout()) if has_labels else (Layout(), layout)


def require_packages() -> None:
    """Raise `BadSettings` if a package of the extra `train` is missing."""
    if missing := [name for name in ("scipy", "sklearn") if not find_spec(name)]:
        raise BadSettings(f"{missing[0]} is not installed; training and evaluation need it: pip install 'gist-stream[train]'")
