"""The engine on aarch64, under an emulator: its numbers are right; its speed there is not known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

_SOURCE = Path(__file__).with_name("random_encoder.cpp")
_FLAGS = ("-O1", "-std=c++20", "-fno-math-errno", "-w", "-static", "-pthread")
_NEEDED = ("g++", "aarch64-linux-gnu-g++", "qemu-aarch64")
_MISSING = [tool for tool in _NEEDED if shutil.which(tool) is None]


@pytest.mark.skipif(bool(_MISSING), reason=f"needs {', '.join(_MISSING)}: apt-get install g++ g++-aarch64-linux-gnu qemu-user")
def test_states_on_aarch64_are_those_of_x86(tmp_path: Path) -> None:
    """A small random encoder gives the same vectors, to the rounding of fp32."""
    vectors = []
    for compiler, emulator in (("g++", []), ("aarch64-linux-gnu-g++", ["qemu-aarch64"])):
        program = tmp_path / compiler
        subprocess.run([compiler, *_FLAGS, str(_SOURCE), "-o", str(program)], check=True, timeout=170)
        done = subprocess.run([*emulator, str(program)], capture_output=True, text=True, check=True, timeout=60)
        vectors.append(np.array(done.stdout.split(), dtype=np.float64))
    assert len(vectors[0]) == 3 * 64
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-4
