"""Make labelled texts for a task that has too few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from worker.commands.training import layout_flags
from worker.errors import BadSettings
from worker.training.data.examples import LabelledData, TaggedData
from worker.training.data.read import read
from worker.training.synthetic import templates as sentences
from worker.training.synthetic.generate import Generator, HeldOutTexts, generate
from worker.training.synthetic.mention_replacement import MentionReplacement

if TYPE_CHECKING:
    from worker.training.data.layout import Layout

Files = list[Path] | None
_HeldOutFiles = Annotated[
    Files, typer.Option(help="Development and test texts, which nothing made may be like; may be repeated.", show_default=False)
]


def synthesize(
    output: Annotated[Path, typer.Argument(help="The file of JSON lines to write.")],
    *,
    templates: Annotated[
        Files, typer.Option(help="A file of sentences with slots (TOML); may be repeated.", show_default="a set that comes with us")
    ] = None,
    swap: Annotated[
        Files, typer.Option(help="Texts with entities, which change places; may be repeated.", show_default=False)
    ] = None,
    held_out: _HeldOutFiles = None,
    text_column: layout_flags.TextColumn = None,
    label_column: layout_flags.LabelColumn = None,
    format_: layout_flags.FileFormat = None,
    count: Annotated[int, typer.Option(min=1, help="How many texts to make, as many in each way.")] = 2000,
    joins_handles: Annotated[bool, typer.Option("--join-handles", help="An `@` and the name after it are one word.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same texts.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Make texts with entities, labelled by construction: from sentences with slots, or from your own, entities swapped."""
    if output.exists() and not force:
        raise BadSettings(f"{output}: there is something already; --force writes over it")
    layout = replace(layout_flags.layout_of(text_column, label_column, format_), joins_handles=joins_handles)
    makers: list[Generator] = [sentences.read(path) for path in templates or ([] if swap else [sentences.BUILT_IN])]
    if swap:
        tagged = [_tagged(path, layout) for path in swap]
        makers.append(MentionReplacement([text for data in tagged for text in data.texts]))
    forbidden = HeldOutTexts(text.text for path in held_out or () for text in read(path, layout).texts)
    made = generate(makers, count, forbidden, seed=seed)
    lines = [
        {"text": text.text, "spans": [{"start": span.start, "end": span.end, "label": span.type} for span in text.spans]}
        for text in made.texts
    ]
    try:
        output.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
    except OSError as error:
        raise BadSettings(f"{output}: {error.strerror}") from error
    typer.echo(f"{len(lines)} texts, {sum(len(it.spans) for it in made.texts)} entities: {output}")
    typer.echo(f"left out: {made.num_similar} like a held-out text, {made.num_repeated} made already")
    if len(lines) < count:
        typer.echo("there are no more: give more templates, more entities, or more texts")


def _tagged(path: Path, layout: Layout) -> TaggedData:
    data = read(path, layout)
    if isinstance(data, LabelledData):
        raise BadSettings(f"{path}: {data.kind}, where entities are needed")
    return data
