"""Show what is in files of labelled texts."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import orjson
from rich.table import Table
from rich.text import Text

from worker.commands.terminal import Terminal
from worker.errors import BadSettings
from worker.training.data import arrow
from worker.training.data.examples import TaggedText
from worker.training.data.read import read
from worker.training.data.report import report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from worker.training.data.examples import Data, Example
    from worker.training.data.layout import Layout
    from worker.training.data.report import DataReport, FileReport, Overlap

_NUM_CLASSES_SHOWN = 30


def data(paths: Sequence[Path], layout: Layout, *, num_examples: int, skips_broken: bool, is_json: bool) -> None:
    """Print the report; raises `BadSettings` where a file is broken, unless what is broken is to be left out."""
    every = [read_whole(path, layout, skips_broken=skips_broken) for given in paths for path in arrow.parts(given)]
    found = report(every)
    if is_json:
        examples = [[asdict(it) for it in one.texts[:num_examples]] for one in every]
        shown = found.as_json() | {"examples": dict(zip((it.path for it in found.files), examples, strict=True))}
        sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(Terminal(), found, every, num_examples)


def read_whole(path: Path, layout: Layout, *, skips_broken: bool) -> Data:
    """Read all of a file; where something is broken, say what is first, and how much more there is."""
    found = read(path, replace(layout, skips_broken=True))
    if found.source.broken and not skips_broken:
        more = f" (and {len(found.source.broken) - 1} more)" if len(found.source.broken) > 1 else ""
        raise BadSettings(f"{found.source.broken[0]}{more}; --skip-broken leaves out what is broken")
    return found


def _print(console: Terminal, found: DataReport, every: Sequence[Data], num_examples: int) -> None:
    for file, its in zip(found.files, every, strict=True):
        console.print(Text(file.path, style="bold"))
        for line in format_report(file, found.unit):
            console.print(f"  {line}", markup=False, soft_wrap=True)
        console.print(classes(file))
        for it in its.texts[:num_examples]:
            console.print(Text("  ").append_text(marked(it)), soft_wrap=True)
        console.print()
    for overlap in found.overlaps:
        if overlap.num_duplicates or overlap.num_near_duplicates:
            console.print(overlap_line(overlap), markup=False, soft_wrap=True)


def format_report(file: FileReport, unit: str) -> Iterator[str]:
    """Yield what a report says of a file, but its classes."""
    yield f"{file.kind} ({file.read_as})"
    yield f"texts: {file.num_texts}, without a label: {file.num_unlabelled}, empty: {file.num_empty}"
    alike = f"repeating another: {file.num_duplicates}, nearly: {file.num_near_duplicates}"
    yield f"{alike}, of these under other labels: {file.num_contradictions}"
    for name, lengths in ((unit, file.lengths), ("characters", file.characters)):
        if lengths:
            yield f"{name}: " + ", ".join(f"{key} {value}" for key, value in lengths.items())
    if file.num_rejected:
        yield f"rejected or skipped by an annotator, left out: {file.num_rejected}"
    for problems, what in ((file.broken, "broken and left out"), (file.malformed, "malformed, read as the nearest that is not")):
        if problems:
            yield f"{what}: {len(problems)}, the first {problems[0]}"


def classes(file: FileReport) -> Table:
    """Return how often each label occurs."""
    table = Table(box=None, padding=(0, 0, 0, 2))
    table.add_column("label")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    for label, it in list(file.classes.items())[:_NUM_CLASSES_SHOWN]:
        table.add_row(Text(label), str(it.num), f"{it.share:.1%}")
    if len(file.classes) > _NUM_CLASSES_SHOWN:
        table.add_row(f"and {len(file.classes) - _NUM_CLASSES_SHOWN} more", "", "")
    return table


def marked(it: Example) -> Text:
    """Return a text on one line, its entities in brackets with their types, or its labels before it."""
    if not isinstance(it, TaggedText):
        return Text(", ".join(it.labels), style="cyan").append(f"  {_one_line(it.text)}", style="default")
    shown, end = Text(), 0
    for span in it.spans:
        shown.append(_one_line(it.text[end : span.start]))
        shown.append(f"[{_one_line(it.text[span.start : span.end])} {span.type}]", style="bold cyan")
        end = span.end
    return shown.append(_one_line(it.text[end:]))


def overlap_line(it: Overlap) -> str:
    """Return what two files have in common."""
    return f"texts of {it.second} that stand in {it.first} too: {it.num_duplicates}, and nearly: {it.num_near_duplicates}"


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎")
