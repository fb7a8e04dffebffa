"""The pictures of the README: the terminal of the demo and the chart of the engines."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).parents[2] / ".ci" / "pictures.py"
TABLE = """<!-- speed -->
Two cores:

| engine | texts/s | relative |
| --- | --: | --: |
| baseline: `other` | 50 | 1 |
| **ours** | **1,500** | **30** |
<!-- /speed -->
"""


@pytest.fixture(scope="module", name="pictures")
def load_pictures() -> ModuleType:
    """Load the script, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("pictures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_line_that_is_redrawn_keeps_its_last_state(pictures: ModuleType) -> None:
    """A carriage return starts the line again, movements of the cursor vanish, and colours remain."""
    assert pictures.settle("first\r\nold\r\x1b[2Knew \x1b[31mred\x1b[0m\n") == ["first", "new \x1b[31mred\x1b[0m", ""]


def test_picture_of_the_demo_is_short(pictures: ModuleType) -> None:
    """The picture has one line of progress and no neighbours; an ellipsis marks the gap."""
    progress = [f"  {count} of 20 records  5 records/s" for count in (1, 7, 20)]
    lines = ["worker ready", *progress, "nearest neighbours", "  a text", "dead letters", "  decode: no text", "next: more", ""]
    assert pictures.shorten(lines) == ["worker ready", progress[-1], "…", "dead letters", "  decode: no text"]


def test_terminal_is_drawn_without_fonts_from_other_hosts(pictures: ModuleType) -> None:
    """The SVG is well-formed XML that loads nothing."""
    svg = pictures.draw_terminal(["\x1b[32mgood\x1b[0m & <well>"], "Title", 40)
    ET.fromstring(svg)  # noqa: S314  our own text
    assert "@font-face" not in svg
    assert "url(http" not in svg


def test_chart_shows_the_rows_of_the_table(pictures: ModuleType) -> None:
    """The last row is the claim of the title, and the lengths of the bars have the ratio of the numbers."""
    svg = pictures.draw_speed(TABLE)
    root = ET.fromstring(svg)  # noqa: S314  our own text
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "30 times as many texts per second as the baseline"
    assert texts[2:] == ["baseline: other", "50", "ours", "1,500"]
    lengths = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert lengths[1] / lengths[0] == pytest.approx(30, rel=0.05)
