"""Define the flags of `data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.training.data.layout import Format, Scheme

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Files of labelled texts, or directories that `save_to_disk` of Hugging Face `datasets` wrote.", show_default=False
    ),
]
FileFormat = Annotated[
    Format | None,
    typer.Option("--format", help="The format of the files. Unset: found by the extension or the first lines. Example: csv."),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        help="The column with the text or word: its name, or its number from 1. Unset: found by its usual names. Example: body."
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="The column with label, labels, spans or tag: its name, or its number from 1. Unset: found by its usual names. "
        "Example: mood."
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(help="The separator between several labels in one field. Unset: a field is one label. Example: ';'."),
]
TaggingScheme = Annotated[
    Scheme | None,
    typer.Option(help="The tagging scheme of the entities. Unset: found by the tags of the file. Example: iob2, which is BIO."),
]
JoinHandles = Annotated[
    bool,
    typer.Option("--join-handles", help="Join a lone @ with the next word, for corpora that split handles into two words."),
]
SkipBroken = Annotated[
    bool,
    typer.Option("--skip-broken", help="Leave out broken rows and print their number. Without this flag they are an error."),
]
Examples = Annotated[int, typer.Option(min=0, help="Number of texts of each file to show. 0: none.")]
IsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
