"""Files of rows: JSON lines, one JSON array, and tables with a header (CSV, TSV)."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

import orjson

from worker.errors import BadSettings
from worker.training.data.examples import Problem
from worker.training.data.layout import Format
from worker.training.data.readers.lines import read_lines, shorten
from worker.training.data.readers.rows import build_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from worker.training.data.examples import Data
    from worker.training.data.layout import Layout
    from worker.training.data.readers.rows import Row

_DELIMITERS = ",;\t"
# The default limit of `csv` is too small for whole documents.
_MAX_FIELD_CHARACTERS = 2**30
_ARRAY_START = re.compile(r"\s*\[\s*(\{|\]?\s*$)")
_SEPARATOR = re.compile(r"\s*,?\s*")


def read_json_lines(path: Path, layout: Layout) -> Data:
    """Read one JSON object per line, or an array of objects; raises `BadSettings` for a file without rows."""
    broken: list[Problem] = []
    lines = list(read_lines(path))
    if is_array(line for _, line in lines if line.strip()):
        return build_data(path, "JSON array", list(_read_array(path, "\n".join(line for _, line in lines), broken)), layout, broken)
    return build_data(path, "JSON lines", list(_read_objects(path, lines, broken)), layout, broken)


def is_array(lines: Iterable[str]) -> bool:
    """Return whether the first line that is not blank begins an array of objects."""
    return _ARRAY_START.match(next(iter(lines), "")) is not None


def read_table(path: Path, layout: Layout) -> Data:
    """Read a table whose first line names its columns; raises `BadSettings` with file, line and reason.

    Fields may be quoted. Many tables with tabs contain quotes that quote nothing: such a table is read without quoting if that
    breaks fewer rows.
    """
    is_tabbed = layout.format is Format.TSV
    lines = list(read_lines(path))
    header = next((line for _, line in lines if line.strip()), "")
    delimiter = "\t" if is_tabbed else max(_DELIMITERS, key=header.count)
    rows, broken = _split_table(path, lines, delimiter, csv.QUOTE_MINIMAL)
    if is_tabbed and broken:
        unquoted = _split_table(path, lines, delimiter, csv.QUOTE_NONE)
        rows, broken = unquoted if len(unquoted[1]) < len(broken) else (rows, broken)
    return build_data(path, "TSV" if delimiter == "\t" else "CSV", rows, layout, broken)


def _read_objects(path: Path, lines: Iterable[tuple[int, str]], broken: list[Problem]) -> Iterator[Row]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            has_comma = line.rstrip().endswith(",") and error.pos == len(line.rstrip()) - 1
            hint = " (remove the comma after the object)" if has_comma else ""
            broken.append(Problem(path, number, f"not JSON: {error.msg} at character {error.colno}{hint}"))
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            broken.append(Problem(path, number, f"not a JSON object: {shorten(line)}"))


def _read_array(path: Path, text: str, broken: list[Problem]) -> Iterator[Row]:
    """Yield the objects of an array with the lines at which they begin; reading ends at broken JSON."""
    decoder = json.JSONDecoder()
    index = _find_next(text, text.index("[") + 1)
    line = 1 + text.count("\n", 0, index)
    while not text.startswith("]", index):
        try:
            _, end = decoder.raw_decode(text, index)
            # orjson is strict: NaN and half a surrogate pair are refused.
            value = orjson.loads(text[index:end])
        except (ValueError, RecursionError) as error:
            broken.append(Problem(path, line, f"not JSON: {getattr(error, 'msg', error)}; the rest is not read"))
            return
        if isinstance(value, dict):
            yield line, value
        else:
            broken.append(Problem(path, line, f"not a JSON object: {shorten(text[index:end])}"))
        following = _find_next(text, end)
        line += text.count("\n", index, following)
        index = following
    if text[index + 1 :].strip():
        broken.append(Problem(path, line, "content after the end of the array; the rest is not read"))


def _find_next(text: str, index: int) -> int:
    """Return the index of the next value, or of the end of the array."""
    found = _SEPARATOR.match(text, index)
    return index if found is None else found.end()


def _split_table(path: Path, lines: Sequence[tuple[int, str]], delimiter: str, quoting: int) -> tuple[list[Row], list[Problem]]:
    """Return the rows and the broken lines of a table; raises `BadSettings` if the header names a column twice."""
    rows: list[Row] = []
    broken: list[Problem] = []
    header: list[str] | None = None
    reader = csv.reader((f"{line}\n" for _, line in lines), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    start = 1
    try:
        for fields in reader:
            if header is None and any(map(str.strip, fields)):
                header = [field.strip() for field in fields]
                if len(set(header)) < len(header):
                    raise BadSettings(f"{path}:{start}: the header names a column twice: {', '.join(header)}")
            elif header is not None and len(fields) == len(header):
                rows.append((start, dict(zip(header, fields, strict=True))))
            elif header is not None and fields:
                broken.append(Problem(path, start, f"{len(fields)} columns; the header has {len(header)}"))
            start = reader.line_num + 1
    except csv.Error as error:
        broken.append(Problem(path, start, f"unmatched quotes; the rest is not read: {error}"))
    return rows, broken
