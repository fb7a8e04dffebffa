"""The picture is a PNG of the promised width."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.bench.results import result
from worker.bench.engine.plot import draw

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("num_panels", [0, 1, 3])
def test_a_picture_is_900_pixels_wide(num_panels: int, tmp_path: Path) -> None:
    """With a panel for each shape and corpus."""
    path = tmp_path / "run.png"
    draw(replace(result(), panels=result().panels * num_panels), path)
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", head[16:20]) == (900,)
