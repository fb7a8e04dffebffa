"""The command line: one short function for each command, which parses, calls and prints.

run        serve a model on a Kafka topic          exit codes: 0 done · 2 settings · 3 broker · 4 topics · 5 model
demo       see all of it, on this machine                      6 the model is broken · 7 not drained in time
produce    send texts                                          128 + n left at once by a second signal, or by
tail       follow the results                                  any signal while the model loads
topics     list or create the topics
check      say what is wrong before it goes wrong
dlq        look into the dead letters, and send their records again
lag        see how far the group is behind
offsets    see where the group stands, or set it anew
data       see what training data hold
synthesize make labelled texts where there are too few
train      make heads, tune encoders, compare the strategies
evaluate   say how good a model is on held-out texts
distill    make a smaller encoder of a larger one
quantize   make a model ready for 8-bit products
bench      measure it beside what one would otherwise pick
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import worker
from worker.commands.bench import cli as bench
from worker.commands.output_encoding import escape_unencodable
from worker.commands.repair import cli as repair
from worker.commands.run.signals import leave_at_once
from worker.commands.setting_flags import with_settings
from worker.commands.training import cli as train
from worker.commands.training import encoders, layout_flags, synthesize
from worker.errors import FatalError
from worker.settings import DEFAULT_MODEL, Settings
from worker.training.data.layout import Format, Layout, Scheme

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Text in on one Kafka topic; embeddings, labels and entities out on others: in order, none lost.",
    epilog="Exit codes: 0 done · 2 settings · 3 broker · 4 topics · 5 model · 6 the model is broken · 7 not drained in time.",
)

app.add_typer(repair.dlq, name="dlq")
app.add_typer(repair.offsets, name="offsets")
app.add_typer(bench.app, name="bench")
app.add_typer(train.app, name="train")
for command in (synthesize.synthesize, encoders.distill):
    app.command()(command)


@app.command()
@with_settings
def run(
    settings: Settings,
    *,
    replicas: Annotated[
        int,
        typer.Option(min=1, help="So many workers on this machine: they share its cores and one HTTP port, and are kept alive."),
    ] = 1,
) -> None:
    """Serve a model on a Kafka topic until told to stop; the first signal drains, the second leaves at once."""
    if replicas > 1:
        from worker.commands.run.replicas import run_replicas  # noqa: PLC0415  this command's alone

        raise typer.Exit(run_replicas(settings, replicas))
    from worker.commands.run import run as command  # noqa: PLC0415  heavy, and this command's alone

    command.run(settings)


@app.command()
@with_settings
def produce(
    settings: Settings,
    source: Annotated[Path | None, typer.Argument(help="A file of texts, one a line, UTF-8. Unset, `-`: standard input.")] = None,
    *,
    is_json: Annotated[bool, typer.Option("--json", help="The lines are JSON requests already.")] = False,
    key: Annotated[
        str | None,
        typer.Option(
            help="The key of every record; with --json, the field to take it from: a string as it is, another value as JSON."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Records a second. 0: as fast as the brokers take them.")] = 0,
    count: Annotated[
        int, typer.Option(min=0, help="End after so many records; start over where the file is shorter. 0: the file once.")
    ] = 0,
) -> None:
    """Send texts to the input topic."""
    from worker.commands import produce as command  # noqa: PLC0415

    command.produce(settings, source, is_json=is_json, key=key, rate=rate, count=count)


@app.command()
@with_settings
def tail(
    settings: Settings,
    *,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Show what is there already, too.")] = False,
    count: Annotated[int, typer.Option(min=0, help="End after so many. 0: follow until Ctrl-C.")] = 0,
) -> None:
    """Follow the results, joined by record: labels, entities in colour, and dead letters; JSON lines when not a terminal."""
    from worker.commands import tail as command  # noqa: PLC0415

    command.tail(settings, from_beginning=from_beginning, count=count)


@app.command()
@with_settings
def topics(
    settings: Settings, *, create: Annotated[bool, typer.Option("--create", help="Create those that are missing.")] = False
) -> None:
    """List the topics of a worker with these settings, or create those that are missing."""
    from worker.commands import check as command  # noqa: PLC0415

    command.topics(settings, create=create)


@app.command()
@with_settings
def lag(settings: Settings, *, is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how far the group is behind in each partition, as the brokers know it; no worker need run."""
    from worker.commands.repair import lag as command  # noqa: PLC0415

    command.lag(settings, is_json=is_json)


@app.command()
@with_settings
def check(settings: Settings) -> None:
    """Check settings, broker, topics and model, one line each with what to do about it."""
    from worker.commands import check as command  # noqa: PLC0415

    command.check(settings)


@app.command()
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave Kafka and the worker running, for `produce` and `tail`.")] = False,
    count: Annotated[int, typer.Option(min=100, help="Messages to send.")] = 3000,
    kill_after: Annotated[
        int, typer.Option(min=0, help="Kill the worker with SIGKILL after so many results, and start it again.")
    ] = 0,
) -> None:
    """Run everything on this machine: a real Kafka, a worker, real messages, and the count of what came out."""
    from worker.commands.demo import demo as command  # noqa: PLC0415

    raise typer.Exit(command.demo(is_kept=keep, count=count, kill_after=kill_after))


@app.command()
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


@app.command()
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
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Draw them into this PNG.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many mistakes of each kind to show.")] = 5,
    dtype: Annotated[str, typer.Option(help="The encoder's numbers, as in GIST_DTYPE.")] = "auto",
    backend: Annotated[str, typer.Option(help="How the encoder runs, as in GIST_BACKEND.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same intervals.")] = 0,
) -> None:
    """Measure a model on held-out texts as it is served: labels, entities, vectors, each figure with its 95 % interval."""
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


@app.command()
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


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(worker.__version__)


def main() -> None:
    """Run a command; a user's mistake is one line on standard error and an exit code, never a traceback."""
    leave_at_once()
    escape_unencodable()
    try:
        app()
    except FatalError as stop:
        from worker.commands.terminal import escape_controls  # noqa: PLC0415  the help needs no console

        sys.stderr.write(f"gist-stream: {escape_controls(str(stop), keeps_lines=True)}\n")
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
