"""Print statistics of labelled files."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import orjson
from rich.table import Table
from rich.text import Text

from worker.commands.terminal import Terminal
from worker.errors import BadSettings
from worker.training.data.examples import TaggedText
from worker.training.data.read import read
from worker.training.data.readers import arrow
from worker.training.data.report import build_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from worker.training.data.examples import Data, Example
    from worker.training.data.layout import Layout
    from worker.training.data.report import DataReport, FileReport, Overlap

_NUM_CLASSES_SHOWN = 30


def data(paths: Sequence[Path], layout: Layout, *, num_examples: int, skips_broken: bool, is_json: bool) -> None:
    """Print the report; raises `BadSettings` for a broken file, unless `skips_broken`."""
    every = [read_whole(path, layout, skips_broken=skips_broken) for given in paths for path in arrow.list_splits(given)]
    found = build_report(every)
    if is_json:
        examples = [[asdict(text) for text in one.texts[:num_examples]] for one in every]
        shown = found.as_json() | {"examples": dict(zip((file.path for file in found.files), examples, strict=True))}
        sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(Terminal(), found, every, num_examples)


def read_whole(path: Path, layout: Layout, *, skips_broken: bool) -> Data:
    """Read a file; raises `BadSettings` with the first broken row and the number of the others, unless `skips_broken`."""
    found = read(path, replace(layout, skips_broken=True))
    if found.source.broken and not skips_broken:
        more = f" (and {len(found.source.broken) - 1} more)" if len(found.source.broken) > 1 else ""
        raise BadSettings(f"{found.source.broken[0]}{more}; --skip-broken leaves out broken rows")
    return found


def _print(console: Terminal, found: DataReport, every: Sequence[Data], num_examples: int) -> None:
    for file, ones in zip(found.files, every, strict=True):
        console.print(Text(file.path, style="bold"))
        for line in format_report(file, found.unit):
            console.print(f"  {line}", markup=False, soft_wrap=True)
        console.print(build_class_table(file))
        for text in ones.texts[:num_examples]:
            console.print(Text("  ").append_text(format_example(text)), soft_wrap=True)
        console.print()
    for overlap in found.overlaps:
        if overlap.num_duplicates or overlap.num_near_duplicates:
            console.print(format_overlap(overlap), markup=False, soft_wrap=True)


def format_report(file: FileReport, unit: str) -> Iterator[str]:
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


def build_class_table(file: FileReport) -> Table:
    """Return the table of labels with number and share."""
    table = Table(box=None, padding=(0, 0, 0, 2))
    table.add_column("label")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    for label, class_ in list(file.classes.items())[:_NUM_CLASSES_SHOWN]:
        table.add_row(Text(label), str(class_.num), f"{class_.share:.1%}")
    if len(file.classes) > _NUM_CLASSES_SHOWN:
        table.add_row(f"and {len(file.classes) - _NUM_CLASSES_SHOWN} more", "", "")
    return table


def format_example(example: Example) -> Text:
    """Return a text on one line, with its labels first or its entities in brackets."""
    if not isinstance(example, TaggedText):
        return Text(", ".join(example.labels), style="cyan").append(f"  {_one_line(example.text)}", style="default")
    shown, end = Text(), 0
    for span in example.spans:
        shown.append(_one_line(example.text[end : span.start]))
        shown.append(f"[{_one_line(example.text[span.start : span.end])} {span.type}]", style="bold cyan")
        end = span.end
    return shown.append(_one_line(example.text[end:]))


def format_overlap(overlap: Overlap) -> str:
    """Return the line about the common texts of two files."""
    counts = f"{overlap.num_duplicates} copies, {overlap.num_near_duplicates} near-duplicates"
    return f"texts of {overlap.second} that are also in {overlap.first}: {counts}"


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎")
