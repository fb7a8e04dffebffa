"""The report of a benchmark: tables for a terminal, JSON for programs, Markdown for `docs/benchmarks.md`, and a plot."""

from __future__ import annotations

import datetime as dt
import math
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import orjson
from rich.table import Table as RichTable

from worker.bench.frame.machine import describe_in_one_line
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table whose first column names the row; all other columns hold figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    #: The row to highlight in a terminal.
    highlighted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of one benchmark, ready to show."""

    title: str
    #: One sentence with the main figure; the title of the plot.
    claim: str
    machine: Mapping[str, Any]
    tables: Sequence[Table]
    #: Conditions of the measurement that a reader must know.
    notes: Sequence[str] = ()
    #: Whether all records arrived; decides the exit code.
    is_good: bool = True
    #: The figures to compare with other runs.
    summary: Mapping[str, Any]
    #: All results.
    details: Mapping[str, Any]
    #: Draws the plot into a file.
    draw: Callable[[Report, Path], None] | None = None

    def show(self, console: Console) -> None:
        """Print claim, tables, notes and machine."""
        for table in self.tables:
            shown = RichTable(title=table.title, caption=table.caption, title_justify="left", caption_justify="left")
            for number, column in enumerate(table.columns):
                shown.add_column(column, justify="right" if number else "left", no_wrap=True)
            for number, row in enumerate(table.rows):
                shown.add_row(*row, style="bold green" if number == table.highlighted else "")
            console.print(shown)
        for note in self.notes:
            console.print(note, markup=False, soft_wrap=True)
        console.print(describe_in_one_line(self.machine), style="dim", markup=False, soft_wrap=True)
        console.print(self.claim, style="green" if self.is_good else "red", markup=False, soft_wrap=True)

    def to_json(self) -> bytes:
        """Return everything as JSON; a figure that was not measured is null."""
        return orjson.dumps(
            {"summary": self.summary, "machine": self.machine, **self.details},
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
        )

    def to_markdown(self, command: str) -> bytes:
        """Return a section for `docs/benchmarks.md`; its header names command, commit, date and processor."""
        date = dt.datetime.now(dt.UTC).date()
        lines = [
            f"### {self.title}",
            "",
            f"`{command}`. Commit `{find_commit()}`, {date}. {describe_in_one_line(self.machine)}.",
            "",
            f"{self.claim}.",
        ]
        for table in self.tables:
            rule = ["---", *["--:"] * (len(table.columns) - 1)]
            lines += ["", f"{table.title}:", ""]
            lines += [f"| {' | '.join(cells)} |" for cells in (table.columns, rule, *table.rows)]
            lines += ["", table.caption] if table.caption else []
        return "\n".join([*lines, "", *(f"* {note}" for note in self.notes), ""]).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOutputs:
    """Where a report goes: tables on the terminal unless JSON or Markdown is chosen, a file, and a plot."""

    as_json: bool = False
    as_markdown: bool = False
    file: Path | None = None
    plot: Path | None = None
    command: str = field(default="gist-stream bench")

    def check(self) -> None:
        """Raise `BadSettings` where the report could not be written, before anything is measured."""
        for path in (self.file, self.plot):
            if path and not path.absolute().parent.is_dir():
                raise BadSettings(f"{path}: there is no directory {path.absolute().parent}")
        if self.plot and not find_spec("matplotlib"):
            raise BadSettings("--plot needs matplotlib: pip install 'gist-stream[bench]'")

    def write(self, report: Report, console: Console) -> None:
        """Write the report as chosen; raises `BadSettings` with the name of a file that cannot be written."""
        text = report.to_json() if self.as_json else report.to_markdown(self.command) if self.as_markdown else None
        try:
            if self.file:
                self.file.write_bytes(report.to_json() if text is None else text)
            if self.plot and report.draw:
                report.draw(report, self.plot)
        except OSError as error:
            raise BadSettings(f"{error.filename}: {error.strerror}") from error
        if text is None:
            report.show(console)
        elif not self.file:
            console.out(text.decode(), end="")


def find_commit() -> str:
    """Return the short hash of the commit that runs, or `unknown` outside of a checkout."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    found = subprocess.run([git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "unknown"


def format_number(value: float | None, digits: int = 0, *, unit: str = "", signs: str = ",") -> str:
    """Return a figure for a table; an empty cell where nothing was measured."""
    return "" if value is None or math.isnan(value) else f"{value:{signs}.{digits}f}{unit}"
