"""The report of a benchmark: tables for a terminal, JSON for programs, Markdown for `docs/reference/benchmarks.md`, and a plot."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import orjson
from rich.table import Table as RichTable

from worker.bench.frame.machine import describe_in_one_line
from worker.bench.frame.publish import check_pages, publish
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from worker.bench.frame.runs import Table


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
    #: The conditions and rows of the README's table, name and texts per second, the slowest first; empty for other benchmarks.
    front_page: tuple[str, Sequence[tuple[str, float]]] = ("", ())

    def describe_origin(self, command: str) -> str:
        """Return command, commit, date and processor class: where the figures come from."""
        date = dt.datetime.now(dt.UTC).date()
        return f"`{command}`. Commit `{find_commit()}`, {date}. {describe_in_one_line(self.machine)}."

    def show(self, console: Console, command: str) -> None:
        """Print where the figures come from, tables, notes and the claim."""
        console.print(self.describe_origin(command), style="dim", markup=False, soft_wrap=True)
        for table in self.tables:
            shown = RichTable(title=table.title, caption=table.caption, title_justify="left", caption_justify="left")
            for number, title in enumerate(("", *(column.title for column in table.columns))):
                shown.add_column(title, justify="right" if number else "left", no_wrap=True)
            for row in table.cells():
                shown.add_row(*row, style="bold green" if row[0] == table.highlighted else "")
            console.print(shown)
        for note in self.notes:
            console.print(note, markup=False, soft_wrap=True)
        console.print(self.claim, style="green" if self.is_good else "red", markup=False, soft_wrap=True)

    def to_json(self, command: str) -> bytes:
        """Return everything as JSON; a figure that was not measured is null."""
        tables = {table.title: table.runs.as_json() for table in self.tables}
        origin = {"command": command, "commit": find_commit(), "date": dt.datetime.now(dt.UTC).date()}
        content = {**origin, "summary": self.summary, "machine": self.machine, "notes": self.notes, "tables": tables}
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)

    def to_markdown(self, command: str) -> str:
        """Return a section for `docs/reference/benchmarks.md`; its header names command, commit, date and processor class."""
        lines = [f"### {self.title}", "", self.describe_origin(command), "", f"{self.claim}."]
        for table in self.tables:
            titles = ["", *(column.title for column in table.columns)]
            rule = ["---", *["--:"] * len(table.columns)]
            lines += ["", f"{table.title}:", ""]
            lines += [f"| {' | '.join(cells)} |" for cells in (titles, rule, *table.cells())]
            lines += ["", table.caption] if table.caption else []
        return "\n".join([*lines, "", *(f"* {note}" for note in self.notes), ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOutputs:
    """Where a report goes: tables on the terminal unless JSON or Markdown is chosen, a file, a plot, and the pages."""

    as_json: bool = False
    as_markdown: bool = False
    file: Path | None = None
    plot: Path | None = None
    #: The root of a checkout whose pages get the report; None for no page.
    checkout: Path | None = None
    command: str = "gist-stream bench"

    def check(self) -> None:
        """Raise `BadSettings` where the report could not be written, before anything is measured."""
        for path in (self.file, self.plot):
            if path and not path.absolute().parent.is_dir():
                raise BadSettings(f"{path}: there is no directory {path.absolute().parent}")
        if self.plot and not find_spec("matplotlib"):
            raise BadSettings("--plot needs matplotlib: pip install 'gist-stream[bench]'")
        if self.checkout:
            check_pages(self.checkout)

    def write(self, report: Report, console: Console) -> None:
        """Write the report as chosen; raises `BadSettings` with the name of a file that cannot be written."""
        text = (
            report.to_json(self.command).decode()
            if self.as_json
            else report.to_markdown(self.command)
            if self.as_markdown
            else None
        )
        try:
            if self.file:
                self.file.write_text(report.to_json(self.command).decode() if text is None else text)
            if self.plot:
                from worker.bench.frame.plot import draw  # noqa: PLC0415  tables need no matplotlib

                draw(report, self.plot)
            if self.checkout:
                publish(report, self.command, find_commit(), self.checkout)
        except OSError as error:
            raise BadSettings(f"{error.filename}: {error.strerror}") from error
        if text is None:
            report.show(console, self.command)
        elif not self.file:
            console.out(text, end="")


def find_commit() -> str:
    """Return the short hash of the commit that runs, or `unknown` outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    found = subprocess.run([git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "unknown"
