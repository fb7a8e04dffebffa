"""Threads that compute one group of texts together."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("shared_steps.cpp")
_COMPILER = shutil.which("g++")


@pytest.mark.skipif(_COMPILER is None, reason="needs g++: apt-get install g++")
def test_each_item_of_a_step_is_computed_once(tmp_path: Path) -> None:
    """Four threads share the items of many steps, one of them leaves early, and each item reads all items of the step before."""
    program = tmp_path / "shared_steps"
    subprocess.run([str(_COMPILER), "-O1", "-std=c++20", "-pthread", str(_SOURCE), "-o", str(program)], check=True, timeout=170)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "20982 computed, 0 wrong\n"
