"""Print statistics of labelled files."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from worker.commands.terminal import Terminal
from worker.commands.training import flags  # noqa: TC001  typer reads annotations at run time
from worker.errors import BadSettings
from worker.training.data.examples import TaggedText
from worker.training.data.layout import Layout, Scheme
from worker.training.data.read import read
from worker.training.data.readers import arrow
from worker.training.data.report import build_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.training.data.examples import Example
    from worker.training.data.report import FileReport

_NUM_CLASSES_SHOWN = 30
Files = Annotated[
    list[Path], typer.Argument(help="Files of labelled texts, or directories that `save_to_disk` of Hugging Face `datasets` wrote.")
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(help="The separator between several labels in one field. Unset: a field is one label. Example: ';'."),
]
TaggingScheme = Annotated[
    Scheme | None,
    typer.Option(help="The tagging scheme of the entities. Unset: found by the tags of the file. Example: iob2, which is BIO."),
]
SkipBroken = Annotated[
    bool,
    typer.Option("--skip-broken", help="Leave out broken rows and print their number. Without this flag they are an error."),
]
Examples = Annotated[int, typer.Option(min=0, help="Number of texts of each file to show. 0: none.")]


def data(
    files: Files,
    *,
    format_: flags.FileFormat = None,
    text_column: flags.TextColumn = None,
    label_column: flags.LabelColumn = None,
    label_separator: LabelSeparator = None,
    scheme: TaggingScheme = None,
    joins_handles: flags.JoinHandles = False,
    skip_broken: SkipBroken = False,
    examples: Examples = 5,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show statistics of labelled files: kind, classes, lengths, duplicates in and between files, and the first texts."""
    columns = {"text_column": text_column, "label_column": label_column, "label_separator": label_separator}
    layout = Layout(format=format_, scheme=scheme, joins_handles=joins_handles, skips_broken=True, **columns)
    every = [read(path, layout) for given in files for path in arrow.list_splits(given)]
    for broken in (one.source.broken for one in every if one.source.broken and not skip_broken):
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise BadSettings(f"{broken[0]}{more}; --skip-broken leaves out broken rows")
    found, console = build_report(every), Terminal()
    if is_json:
        texts = {str(one.source.path): [asdict(text) for text in one.texts[:examples]] for one in every}
        sys.stdout.write(orjson.dumps(asdict(found) | {"examples": texts}, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    for file, one in zip(found.files, every, strict=True):
        console.print(Text(file.path, style="bold"))
        for line in _format_report(file, found.unit):
            console.print(f"  {line}", soft_wrap=True)
        console.print(_build_class_table(file))
        for text in one.texts[:examples]:
            console.print(Text("  ").append_text(format_example(text)), soft_wrap=True)
        console.print()
    for overlap in found.overlaps:
        if overlap.num_duplicates or overlap.num_near_duplicates:
            counts = f"{overlap.num_duplicates} copies, {overlap.num_near_duplicates} near-duplicates"
            console.print(f"texts of {overlap.second} that are also in {overlap.first}: {counts}", soft_wrap=True)


def _format_report(file: FileReport, unit: str) -> Iterator[str]:
    """Yield the lines about a file, without its classes."""
    yield f"{file.kind} ({file.read_as})"
    yield f"texts: {file.num_texts}, without a label: {file.num_unlabelled}, empty: {file.num_empty}"
    alike = f"copies of another text: {file.num_duplicates}, near-duplicates: {file.num_near_duplicates}"
    yield f"{alike}, with other labels: {file.num_contradictions}"
    for name, lengths in ((unit, file.lengths), ("characters", file.characters)):
        if lengths:
            yield f"{name}: " + ", ".join(f"{key} {value}" for key, value in lengths.items())
    if file.num_rejected:
        yield f"rejected or skipped by annotators and left out: {file.num_rejected}"
    for problems, what in ((file.broken, "broken and left out"), (file.malformed, "tags that violate the scheme, repaired")):
        if problems:
            yield f"{what}: {len(problems)}, the first: {problems[0]}"


def _build_class_table(file: FileReport) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 2))
    table.add_column("label", overflow="fold")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for label, counted in list(file.classes.items())[:_NUM_CLASSES_SHOWN]:
        table.add_row(Text(label), str(counted.num), f"{counted.share:.1%}")
    if len(file.classes) > _NUM_CLASSES_SHOWN:
        table.add_row(f"and {len(file.classes) - _NUM_CLASSES_SHOWN} more")
    return table


def format_example(example: Example) -> Text:
    """Return a text on one line, with its labels first or its entities in brackets."""
    if not isinstance(example, TaggedText):
        return Text(", ".join(example.labels), style="cyan").append(f"  {_join_lines(example.text)}", style="default")
    shown, end = Text(), 0
    for span in example.spans:
        shown.append(_join_lines(example.text[end : span.start]))
        shown.append(f"[{_join_lines(example.text[span.start : span.end])} {span.type}]", style="bold cyan")
        end = span.end
    return shown.append(_join_lines(example.text[end:]))


def _join_lines(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎")
