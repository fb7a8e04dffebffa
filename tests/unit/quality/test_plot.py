"""The picture is a PNG of the promised width."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.unit.quality.reports import small_report
from worker.training.quality.plot import draw

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("num_times", [0, 1, 2])
def test_a_picture_is_900_pixels_wide(num_times: int, tmp_path: Path) -> None:
    """With a row for each head and file; the name of a label is no formula."""
    report = small_report()
    draw(replace(report, labels=report.labels * num_times, entities=report.entities * num_times), tmp_path / "it.png")
    head = (tmp_path / "it.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (900, 360 * max(1, 2 * num_times))
