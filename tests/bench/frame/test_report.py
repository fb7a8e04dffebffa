"""The report: one source for terminal, JSON and Markdown."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from worker.bench.frame.report import Report, ReportOutputs, find_commit
from worker.bench.frame.runs import Column, Run, Runs, Table
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

REPORT = Report(
    title="Stream",
    claim="two records/s",
    machine={"processor": "a CPU", "instructions": "avx2", "cores": 2},
    tables=[Table(title="Throughput", columns=(Column("records/s", "rate"),), runs=Runs([Run("one worker", {"rate": 2.0})]))],
    notes=["one note [1]"],
    summary={"messages_per_s": 2.0, "vs_baseline": math.nan},
)


def test_markdown_is_a_section_of_the_page_of_benchmarks() -> None:
    """The header names command, commit, date and processor."""
    section = REPORT.to_markdown("gist-stream bench stream")
    assert section.startswith("### Stream\n\n`gist-stream bench stream`. Commit `")
    assert "AVX2, a CPU, avx2, 2 cores." in section
    assert "|  | records/s |\n| --- | --: |\n| one worker | 2 |" in section
    assert section.endswith("* one note [1]\n")


def test_json_has_null_for_a_figure_that_was_not_measured() -> None:
    """The values of each row are those of all runs."""
    plain = json.loads(REPORT.to_json("gist-stream bench stream"))
    assert plain["summary"] == {"messages_per_s": 2.0, "vs_baseline": None}
    assert plain["tables"] == {"Throughput": {"one worker": {"rate": [2.0]}}}


def test_a_terminal_gets_tables_notes_and_the_claim() -> None:
    """Brackets in notes are text."""
    console = Console(file=io.StringIO(), width=100)
    REPORT.show(console, "gist-stream bench stream")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(
        part in shown
        for part in (
            "Throughput",
            "one worker",
            "one note [1]",
            "`gist-stream bench stream`. Commit",
            "AVX2, a CPU",
            "two records/s",
        )
    )


def test_a_file_holds_what_is_chosen(tmp_path: Path) -> None:
    """A file gets JSON unless Markdown is chosen; standard output stays empty for a chosen format with a file."""
    for outputs, start in (
        (ReportOutputs(file=tmp_path / "a"), b"{"),
        (ReportOutputs(as_json=True, file=tmp_path / "b"), b"{"),
        (ReportOutputs(as_markdown=True, file=tmp_path / "c"), b"###"),
    ):
        outputs.check()
        console = Console(file=io.StringIO())
        outputs.write(REPORT, console)
        assert outputs.file is not None
        assert outputs.file.read_bytes().startswith(start)
        assert bool(console.file.getvalue()) == (not outputs.as_json and not outputs.as_markdown)  # type: ignore[attr-defined]
    with pytest.raises(BadSettings, match="nowhere"):
        ReportOutputs(file=tmp_path / "nowhere" / "file").check()
    with pytest.raises(BadSettings, match="Is a directory"):
        ReportOutputs(file=tmp_path).write(REPORT, Console(file=io.StringIO()))


def test_the_commit_is_known_in_a_checkout() -> None:
    """Outside a checkout the commit is unknown, which is a word, too."""
    assert find_commit()
