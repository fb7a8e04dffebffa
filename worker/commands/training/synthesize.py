"""Define the `synthesize` command."""

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
    Files,
    typer.Option(
        help="A file of development or test texts. Near-duplicates of these texts are not written. Repeat the flag for more files. "
        "Unset: no check. Example: test.conll.",
        show_default=False,
    ),
]
_TemplateFiles = Annotated[
    Files,
    typer.Option(
        help="A TOML file of sentences with slots. Repeat the flag for more files. Unset: the built-in templates, or none with "
        "--swap. Example: templates.toml.",
        show_default=False,
    ),
]
_SwapFiles = Annotated[
    Files,
    typer.Option(
        help="A file of texts with entities. New texts are copies in which other entities of the same type replace the entities. "
        "Repeat the flag for more files. Unset: only templates. Example: train.conll.",
        show_default=False,
    ),
]


def synthesize(
    output: Annotated[Path, typer.Argument(help="The JSON Lines file to write.")],
    *,
    templates: _TemplateFiles = None,
    swap: _SwapFiles = None,
    held_out: _HeldOutFiles = None,
    text_column: layout_flags.TextColumn = None,
    label_column: layout_flags.LabelColumn = None,
    format_: layout_flags.FileFormat = None,
    count: Annotated[int, typer.Option(min=1, help="Number of texts, from each template and swap file in turn.")] = 2000,
    joins_handles: Annotated[
        bool, typer.Option("--join-handles", help="Join a lone `@` with the next word, for corpora that split handles.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the generator. The same seed gives the same texts.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file. Without this flag it is an error.")] = False,
) -> None:
    """Write synthetic texts with entity labels: from templates, or from your texts with replaced entities."""
    if output.exists() and not force:
        raise BadSettings(f"{output}: there is something already; --force writes over it")
    layout = replace(layout_flags.build_layout(text_column, label_column, format_), joins_handles=joins_handles)
    generators: list[Generator] = [sentences.read(path) for path in templates or ([] if swap else [sentences.BUILT_IN])]
    if swap:
        tagged = [_read_tagged(path, layout) for path in swap]
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


def _read_tagged(path: Path, layout: Layout) -> TaggedData:
    data = read(path, layout)
    if isinstance(data, LabelledData):
        raise BadSettings(f"{path}: the kind of the file is {data.kind}; --swap needs texts with entities")
    return data
