"""Files of rows: JSON lines, one JSON array, and tables with a header (CSV, TSV)."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import orjson

from worker.errors import BadSettings
from worker.training.data.examples import Problem
from worker.training.data.layout import Format
from worker.training.data.readers import json_array
from worker.training.data.readers.lines import Problems, read_lines, shorten
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


def read_json_lines(path: Path, layout: Layout) -> Data:
    """Read one JSON object per line, or an array of objects; raises `BadSettings` with file, line and reason."""
    problems = Problems(path, is_kept=layout.skips_broken)
    lines = [(number, line) for number, line in read_lines(path) if line.strip()]
    if json_array.is_array(line for _, line in lines):
        whole = "\n".join(line for _, line in read_lines(path))
        return build_data(path, "JSON array", list(json_array.read_objects(whole, problems)), layout, problems)
    return build_data(path, "JSON lines", list(_read_objects(lines, problems)), layout, problems)


def read_table(path: Path, layout: Layout) -> Data:
    """Read a table whose first line names its columns; raises `BadSettings` with file, line and reason.

    Fields may be quoted. Many tables with tabs contain quotes that quote nothing: such a table is read without quoting if that
    breaks fewer rows.
    """
    is_tabbed = layout.format is Format.TSV
    lines = list(read_lines(path))
    header = next((line for _, line in lines if line.strip()), "")
    delimiter = "\t" if is_tabbed else max(_DELIMITERS, key=header.count)
    quoted = _Table(path, lines, delimiter, csv.QUOTE_MINIMAL)
    unquoted = _Table(path, lines, delimiter, csv.QUOTE_NONE) if is_tabbed and quoted.broken else quoted
    table = unquoted if len(unquoted.broken) < len(quoted.broken) else quoted
    problems = Problems(path, is_kept=layout.skips_broken)
    for problem in table.broken:
        problems.add(problem.line, problem.reason)
    return build_data(path, "TSV" if delimiter == "\t" else "CSV", table.rows, layout, problems)


def _read_objects(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[Row]:
    for number, line in lines:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            has_comma = line.rstrip().endswith(",") and error.pos == len(line.rstrip()) - 1
            hint = " (remove the comma after the object)" if has_comma else ""
            problems.add(number, f"not JSON: {error.msg} at character {error.colno}{hint}")
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            problems.add(number, f"not a JSON object: {shorten(line)}")


class _Table:
    """The rows and the broken lines of a table."""

    def __init__(self, path: Path, lines: Sequence[tuple[int, str]], delimiter: str, quoting: int) -> None:
        """Read the whole table; raises `BadSettings` if the header names a column twice."""
        self.rows: list[Row] = []
        self.broken: list[Problem] = []
        header: list[str] | None = None
        reader = csv.reader((f"{line}\n" for _, line in lines), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
        csv.field_size_limit(_MAX_FIELD_CHARACTERS)
        start = 1
        try:
            for fields in reader:
                if header is None and fields:
                    header = _read_header(path, start, fields)
                elif header is not None and len(fields) == len(header):
                    self.rows.append((start, dict(zip(header, fields, strict=True))))
                elif header is not None and fields:
                    self.broken.append(Problem(path, start, f"{len(fields)} columns; the header has {len(header)}"))
                start = reader.line_num + 1
        except csv.Error as error:
            self.broken.append(Problem(path, start, f"unmatched quotes; the rest is not read: {error}"))


def _read_header(path: Path, line: int, fields: Sequence[str]) -> list[str]:
    names = [field.strip() for field in fields]
    if len(set(names)) < len(names):
        raise BadSettings(f"{path}:{line}: the header names a column twice: {', '.join(names)}")
    return names
