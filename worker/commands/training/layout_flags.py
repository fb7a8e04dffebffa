"""Define the flags for the layout of labelled files."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.training.data.layout import Format, Layout

_SCOPE = "Where a command reads files with labels and files with entities, the flag describes those with labels."
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help="The column with the text or word: its name, or its number from 1. Unset: found by its usual names. Example: body. "
        + _SCOPE,
        show_default=False,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        help="The column with label, labels, spans or tag: its name, or its number from 1. Unset: found by its usual names. "
        f"Example: mood. {_SCOPE}",
        show_default=False,
    ),
]
FileFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help=f"The format of the files. Unset: found by the extension or the first lines. Example: csv. {_SCOPE}",
        show_default=False,
    ),
]


def build_layout(text_column: str | None, label_column: str | None, format_: Format | None) -> Layout:
    """Return the layout that the flags describe."""
    return Layout(text_column=text_column, label_column=label_column, format=format_)


def split_by_kind(layout: Layout, *, has_labels: bool) -> tuple[Layout, Layout]:
    """Return the layouts of files with labels and of files with entities. The flags describe only the first kind that is given."""
    return (layout, Layout()) if has_labels else (Layout(), layout)
