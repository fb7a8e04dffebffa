"""The picture of an evaluation."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.training.evaluation.reports import OPTIONS, small_report
from worker.training.data.examples import TaggedText
from worker.training.evaluation import report
from worker.training.evaluation.plot import draw

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")


def test_figures_without_an_interval_are_drawn(tmp_path: Path) -> None:
    """A file without true and found entities has figures of 0 and no interval."""
    entities = report.build_entity_report("ner", "x/y", [TaggedText("ok", ())], [[]], temperature=1.0, options=OPTIONS)
    draw(replace(small_report(), labels=(), entities=(entities,)), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("num_times", [0, 1, 2])
def test_a_picture_is_900_pixels_wide(num_times: int, tmp_path: Path) -> None:
    """The picture has a row for each head and file; a label named `$yes$` is no formula."""
    small = small_report()
    draw(replace(small, labels=small.labels * num_times, entities=small.entities * num_times), tmp_path / "plot.png")
    head = (tmp_path / "plot.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (900, 360 * max(1, 2 * num_times))
