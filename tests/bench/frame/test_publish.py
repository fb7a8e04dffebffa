"""A report replaces its section of the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.results import build_engine_results, build_stream_results
from worker.bench.engine.report import build_report as report_engine
from worker.bench.frame.publish import check_pages, insert_section, publish
from worker.bench.stream.report import build_report as report_stream
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

PAGE = """# Benchmarks

## Xeon with AMX

<!-- engine: Xeon with AMX -->
old
<!-- /engine: Xeon with AMX -->

## How the benchmarks work

so
"""


def test_a_section_replaces_the_old_one_of_its_class() -> None:
    """A new class gets a heading before the last one, and a second benchmark is below the same heading."""
    page = insert_section(PAGE, "Engine", "Xeon with AMX", "new\n")
    assert page == PAGE.replace("old", "\nnew\n")
    page = insert_section(page, "Stream", "Xeon with AMX", "stream")
    page = insert_section(page, "Stream", "EPYC with AVX2", "other")
    assert page.count("## Xeon with AMX") == page.count("## EPYC with AVX2") == 1
    assert page.index("stream") < page.index("other") < page.index("## How the benchmarks work")
    assert insert_section(page, "Stream", "EPYC with AVX2", "other") == page


def test_the_front_page_gets_table_and_picture(tmp_path: Path) -> None:
    """The stream benchmark changes the page of benchmarks alone."""
    pages = {
        "docs/reference/benchmarks.md": PAGE,
        "README.md": "a\n<!-- speed -->\nold\n<!-- /speed -->\nb\n",
        ".ci/pictures.py": "import sys, pathlib; pathlib.Path('drawn').write_text(sys.argv[1])",
    }
    with pytest.raises(BadSettings, match="in a checkout"):
        check_pages(tmp_path)
    for name, text in pages.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    check_pages(tmp_path)
    publish(report_stream(build_stream_results()), "gist-stream bench stream", "abc", tmp_path)
    assert (tmp_path / "README.md").read_text() == pages["README.md"]
    publish(report_engine(build_engine_results()), "gist-stream bench engine", "abc", tmp_path)
    front, page = (tmp_path / "README.md").read_text(), (tmp_path / "docs/reference/benchmarks.md").read_text()
    assert "| baseline: first fp32 | 10 | 1 |" in front
    assert "| **GIST Stream, auto (int16)** | **100** | **10** |" in front
    assert "(`gist-stream bench engine`, commit `abc`):" in front
    assert "100 texts/s" in page
    assert "900 records/s" in page
    assert (tmp_path / "drawn").read_text() == "speed"
