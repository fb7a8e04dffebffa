"""The fuzz targets with their seeds, with damaged seeds and with random bytes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import targets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_seeds_do_no_harm(name: str) -> None:
    for seed in targets.SEEDS[name]:
        targets.TARGETS[name](seed)


@settings(max_examples=300)
@given(data=st.binary(max_size=600))
@pytest.mark.parametrize("name", targets.TARGETS)
def test_random_bytes_do_no_harm(name: str, data: bytes) -> None:
    targets.TARGETS[name](data)


@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.parametrize("name", targets.TARGETS)
def test_damaged_seeds_do_no_harm(name: str, data: st.DataObject) -> None:
    """Well-formed bytes with a few changes reach more code than random bytes."""
    seed = bytearray(data.draw(st.sampled_from([seed for seed in targets.SEEDS[name] if seed])))
    for _ in range(data.draw(st.integers(1, 4))):
        seed[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    targets.TARGETS[name](bytes(seed))


def test_a_target_notices_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target raises an exception for a planted defect, so that the fuzzer can find one."""
    monkeypatch.setattr(targets, "compute_max_dead_letter_bytes", lambda _limits: 10)
    with pytest.raises(AssertionError, match="a dead letter has"):
        targets.decoding(b"\x00{")


def test_the_fuzzer_runs(tmp_path: Path) -> None:
    """The fuzzer runs each target for a short time if atheris is installed."""
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all((tmp_path / name).is_dir() for name in targets.TARGETS)
