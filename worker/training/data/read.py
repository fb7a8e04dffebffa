"""Open any file of labelled texts by its kind."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.training.data import arrow, conll, json_array, tables
from worker.training.data.layout import Format, Layout
from worker.training.data.lines import numbered
from worker.training.data.rows import has_usual_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from worker.training.data.examples import Data

_READERS: Mapping[Format, Callable[[Path, Layout], Data]] = {
    Format.CONLL: conll.read,
    Format.JSONL: tables.read_json_lines,
    Format.CSV: tables.read_table,
    Format.TSV: tables.read_table,
    Format.ARROW: arrow.read,
}
_EXTENSIONS = {
    ".conll": Format.CONLL,
    ".conllu": Format.CONLL,
    ".iob": Format.CONLL,
    ".iob2": Format.CONLL,
    ".bio": Format.CONLL,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".csv": Format.CSV,
}
_NUM_LOOKED_AT = 200


def read(path: Path, layout: Layout | None = None) -> Data:
    """Read a file, or a directory that `save_to_disk` wrote; raises `BadSettings` with file, line and reason.

    What the layout does not say is found out, and told of in the data's `source`.
    """
    layout = layout or Layout()
    found = layout.format or detect_format(path)
    return _READERS[found](path, replace(layout, format=found))


def detect_format(path: Path) -> Format:
    """Tell the format by the extension, where that says it, or by the first lines; raises `BadSettings` where neither does."""
    if path.is_dir():
        return Format.ARROW
    if by_extension := _EXTENSIONS.get(path.suffix.lower()):
        return by_extension
    lines = [line for _, line in islice(numbered(path), _NUM_LOOKED_AT) if line.strip()]
    if lines and (lines[0].lstrip().startswith("{") or json_array.looks_like_it(lines)):
        return Format.JSONL
    if conll.looks_like_it(lines):
        return Format.CONLL
    if lines and ("\t" in lines[0] or path.suffix.lower() == ".tsv"):
        return Format.TSV
    if lines and has_usual_names(lines[0].split(",")):
        return Format.CSV
    formats = ", ".join(Format)
    raise BadSettings(f"{path}: cannot tell what it is: name its format ({formats}): --format, or format in a run's TOML file")
