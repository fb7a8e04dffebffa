"""Files of rows: JSON lines, one JSON array, and tables with a header (CSV, TSV)."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import orjson

from worker.errors import BadSettings
from worker.training.data import json_array
from worker.training.data.examples import Problem
from worker.training.data.layout import Format
from worker.training.data.lines import Troubles, numbered, shortened
from worker.training.data.rows import build_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from worker.training.data.examples import Data
    from worker.training.data.layout import Layout
    from worker.training.data.rows import Row

_DELIMITERS = ",;\t"
# No field is longer than that; csv's own bound is too small for whole documents.
_MAX_FIELD_CHARACTERS = 2**30


def read_json_lines(path: Path, layout: Layout) -> Data:
    """Read one JSON object a line, or an array of objects; raises `BadSettings` with file, line and reason."""
    troubles = Troubles(path, is_kept=layout.skips_broken)
    lines = [(number, line) for number, line in numbered(path) if line.strip()]
    if json_array.looks_like_it(line for _, line in lines):
        whole = "\n".join(line for _, line in numbered(path))
        return build_data(path, "JSON array", list(json_array.objects(whole, troubles)), layout, troubles)
    return build_data(path, "JSON lines", list(_objects(lines, troubles)), layout, troubles)


def read_table(path: Path, layout: Layout) -> Data:
    """Read a table whose first line names its columns; raises `BadSettings` with file, line and reason.

    Fields may be quoted, as in CSV. Many tables parted by tabs are written without a thought of quotes: they are read unquoted
    where fewer of their rows are broken then.
    """
    is_tabbed = layout.format is Format.TSV
    lines = list(numbered(path))
    header = next((line for _, line in lines if line.strip()), "")
    delimiter = "\t" if is_tabbed else max(_DELIMITERS, key=header.count)
    quoted = _Table(path, lines, delimiter, csv.QUOTE_MINIMAL)
    unquoted = _Table(path, lines, delimiter, csv.QUOTE_NONE) if is_tabbed and quoted.broken else quoted
    table = unquoted if len(unquoted.broken) < len(quoted.broken) else quoted
    troubles = Troubles(path, is_kept=layout.skips_broken)
    for problem in table.broken:
        troubles.add(problem.line, problem.reason)
    return build_data(path, "TSV" if delimiter == "\t" else "CSV", table.rows, layout, troubles)


def _objects(lines: Iterable[tuple[int, str]], troubles: Troubles) -> Iterator[Row]:
    for number, line in lines:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            has_comma = line.rstrip().endswith(",") and error.pos == len(line.rstrip()) - 1
            hint = " (a comma stands after the object; remove it)" if has_comma else ""
            troubles.add(number, f"not JSON: {error.msg} at character {error.colno}{hint}")
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            troubles.add(number, f"not a JSON object: {shortened(line)}")


class _Table:
    """The rows of a table, and its broken lines."""

    def __init__(self, path: Path, lines: Sequence[tuple[int, str]], delimiter: str, quoting: int) -> None:
        """Read all of it; raises `BadSettings` where the header names a column twice."""
        self.rows: list[Row] = []
        self.broken: list[Problem] = []
        header: list[str] | None = None
        reader = csv.reader((f"{line}\n" for _, line in lines), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
        csv.field_size_limit(_MAX_FIELD_CHARACTERS)
        start = 1
        try:
            for fields in reader:
                if header is None and fields:
                    header = _header(path, start, fields)
                elif header is not None and len(fields) == len(header):
                    self.rows.append((start, dict(zip(header, fields, strict=True))))
                elif header is not None and fields:
                    self.broken.append(Problem(path, start, f"columns: {len(fields)} where the header has {len(header)}"))
                start = reader.line_num + 1
        except csv.Error as error:
            self.broken.append(Problem(path, start, f"quotes that do not match, so that what follows cannot be read: {error}"))


def _header(path: Path, line: int, fields: Sequence[str]) -> list[str]:
    names = [it.strip() for it in fields]
    if len(set(names)) < len(names):
        raise BadSettings(f"{path}:{line}: the header names a column twice: {', '.join(names)}")
    return names
