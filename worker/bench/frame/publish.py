"""Writes a report into the pages of a checkout: `docs/reference/benchmarks.md`, and the table and the picture of README.md."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from worker.bench.frame.machine import classify_processor
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.frame.report import Report

_PAGE, _FRONT, _PICTURES = "docs/reference/benchmarks.md", "README.md", ".ci/pictures.py"
#: The heading before which the section of a new class of processors is inserted.
_LAST_HEADING = "## How the benchmarks work"


def check_pages(checkout: Path) -> None:
    """Raise `BadSettings` if a page is missing."""
    if missing := [name for name in (_PAGE, _FRONT, _PICTURES) if not (checkout / name).is_file()]:
        raise BadSettings(f"--publish: {checkout} has no {missing[0]}; run the command in a checkout of GIST Stream")


def publish(report: Report, command: str, commit: str, checkout: Path) -> None:
    """Replace the report's section for this class of processors and, if the report is for the front page, README's table."""
    page = checkout / _PAGE
    page.write_text(insert_section(page.read_text(), report.title, classify_processor(report.machine), report.to_markdown(command)))
    conditions, rows = report.front_page
    if not rows:
        return
    slowest = rows[0][1]
    table = [f"| {name} | {rate:,.0f} | {rate / slowest:.0f} |" for name, rate in rows[:-1]]
    name, rate = rows[-1]
    table.append(f"| **{name}** | **{rate:,.0f}** | **{rate / slowest:.0f}** |")
    intro = f"{conditions}\n(`{command}`, commit `{commit}`):"
    text = "\n".join([intro, "", "| engine | texts/s | relative |", "| --- | --: | --: |", *table])
    front = checkout / _FRONT
    front.write_text(replace_between(front.read_text(), "speed", text))
    subprocess.run([sys.executable, str(checkout / _PICTURES), "speed"], check=True, cwd=checkout)  # noqa: S603  our own script


def insert_section(page: str, title: str, processor: str, section: str) -> str:
    """Return the page with the section between its markers; a class that the page lacks gets a heading of its own."""
    name = f"{title.lower()}: {processor}"
    if f"<!-- {name} -->" not in page:
        place = f"<!-- {name} -->\n<!-- /{name} -->\n\n"
        heading = f"## {processor}\n\n"
        if heading not in page:
            page = page.replace(_LAST_HEADING, f"{heading}{_LAST_HEADING}", 1)
        page = page.replace(heading, f"{heading}{place}", 1)
    return replace_between(page, name, f"\n{section}")


def replace_between(page: str, name: str, text: str) -> str:
    """Return the page with other text between the markers of a name."""
    marker = re.escape(name)
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page, count=1)
