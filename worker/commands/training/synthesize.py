"""Write labelled texts from templates, or from your texts with replaced entities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.commands.training import flags  # noqa: TC001  typer reads annotations at run time
from worker.errors import BadSettings
from worker.training.data.examples import TaggedData
from worker.training.data.layout import Layout
from worker.training.data.read import read, read_kind
from worker.training.synthetic import templates as sentences
from worker.training.synthetic.generate import Generator, HeldOutTexts, MentionReplacement, generate

Files = list[Path] | None
HeldOutFiles = Annotated[
    Files,
    typer.Option(
        help="A file of development or test texts. Near-duplicates of these texts are not written. Repeat the flag for more files. "
        "Unset: no check. Example: test.conll."
    ),
]
TemplateFiles = Annotated[
    Files,
    typer.Option(
        help="A TOML file of sentences with slots. Repeat the flag for more files. Unset: the built-in templates, or none with "
        "--swap. Example: templates.toml."
    ),
]
SwapFiles = Annotated[
    Files,
    typer.Option(
        help="A file of texts with entities. New texts are copies in which other entities of the same type replace the entities. "
        "Repeat the flag for more files. Unset: only templates. Example: train.conll."
    ),
]


def synthesize(
    output: Annotated[Path, typer.Argument(help="The JSON Lines file to write.")],
    *,
    templates: TemplateFiles = None,
    swap: SwapFiles = None,
    held_out: HeldOutFiles = None,
    text_column: flags.TextColumn = None,
    label_column: flags.LabelColumn = None,
    format_: flags.FileFormat = None,
    count: Annotated[int, typer.Option(min=1, help="Number of texts, from each template and swap file in turn.")] = 2000,
    joins_handles: flags.JoinHandles = False,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the generator. The same seed gives the same texts.")] = 0,
    force: flags.Force = False,
) -> None:
    """Write synthetic texts with entity labels: from templates, or from your texts with replaced entities."""
    if output.exists() and not force:
        raise BadSettings(f"{output}: there is something already; --force writes over it")
    layout = Layout(text_column=text_column, label_column=label_column, format=format_, joins_handles=joins_handles)
    generators: list[Generator] = [sentences.read(path) for path in templates or ([] if swap else [sentences.BUILT_IN])]
    if swap:
        tagged = [read_kind(path, layout, TaggedData, "--swap") for path in swap]
        generators.append(MentionReplacement([text for data in tagged for text in data.texts]))
    forbidden = HeldOutTexts(text.text for path in held_out or () for text in read(path, layout).texts)
    made = generate(generators, count, forbidden, seed=seed)
    lines = [
        {"text": text.text, "spans": [{"start": span.start, "end": span.end, "label": span.type} for span in text.spans]}
        for text in made.texts
    ]
    try:
        output.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
    except OSError as error:
        raise BadSettings(f"{output}: {error.strerror}") from error
    typer.echo(f"{len(lines)} texts, {sum(len(text.spans) for text in made.texts)} entities: {output}")
    typer.echo(f"left out: {made.num_similar} near-duplicates of held-out texts, {made.num_repeated} repetitions")
    if len(lines) < count:
        typer.echo(f"fewer than {count} different texts are possible: give more templates, entities or texts")
