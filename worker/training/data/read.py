"""Read a file of labelled texts in any format."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from worker.errors import BadSettings
from worker.training.data.examples import LabelledData, TaggedData
from worker.training.data.layout import Format, Layout
from worker.training.data.readers import arrow, conll, tables
from worker.training.data.readers.lines import read_lines
from worker.training.data.readers.rows import has_usual_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from worker.training.data.examples import Data

DataT = TypeVar("DataT", bound="LabelledData | TaggedData")
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
_NUM_INSPECTED_LINES = 200


def read(path: Path, layout: Layout | None = None) -> Data:
    """Read a file, or a directory of `save_to_disk`; raises `BadSettings` with file, line and reason.

    Missing parts of the layout are detected and reported in the data's `source`.
    """
    layout = layout or Layout()
    found = layout.format or detect_format(path)
    data = _READERS[found](path, layout.model_copy(update={"format": found}))
    if (broken := data.source.broken) and not layout.skips_broken:
        raise BadSettings(str(broken[0]))
    if broken and not data.texts:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise BadSettings(f"{broken[0]}{more}; nothing of the file can be read")
    return data


def read_kind(path: Path, layout: Layout, kind: type[DataT], user: str) -> DataT:
    """Read a file with labels or with entities for `user`, a flag or a head; raises `BadSettings` for a file of the other kind."""
    data = read(path, layout)
    if not isinstance(data, kind):
        needed = "entities" if kind is TaggedData else "labels"
        raise BadSettings(f"{path}: the kind of the file is {data.kind}; {user} needs texts with {needed}")
    return data


def detect_format(path: Path) -> Format:
    """Return the format by the extension or the first lines; raises `BadSettings` if neither is known."""
    if path.is_dir():
        return Format.ARROW
    if by_extension := _EXTENSIONS.get(path.suffix.lower()):
        return by_extension
    lines = [line for _, line in islice(read_lines(path), _NUM_INSPECTED_LINES) if line.strip()]
    if lines and (lines[0].lstrip().startswith("{") or tables.is_array(lines)):
        return Format.JSONL
    if conll.is_conll(lines):
        return Format.CONLL
    if lines and ("\t" in lines[0] or path.suffix.lower() == ".tsv"):
        return Format.TSV
    if lines and has_usual_names(lines[0].split(",")):
        return Format.CSV
    formats = ", ".join(Format)
    raise BadSettings(f"{path}: unknown format: set --format, or `format` in a run's TOML file, to one of {formats}")
