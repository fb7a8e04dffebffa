"""Files are there whole or not at all, and a full disk is one line."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from worker.errors import BadSettings
from worker.model.checkpoint.atomic_files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def full_disk(num_bytes: int = 1000) -> Iterator[None]:
    """Let the system refuse what makes a file larger than this, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    """Only when it is whole; folders are made."""
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with atomic_write(path) as part:
            part.write_text(text)
            assert not path.exists() or path.read_text() == "one"
    assert path.read_text() == "two"


def test_everybody_may_read_what_was_written(tmp_path: Path) -> None:
    """Also where the library of the tensors wrote it for us alone."""
    with atomic_write(tmp_path / "a.safetensors") as part:
        save_file({"x": torch.zeros(1)}, part)
        part.chmod(0o600)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing beside it."""
    path = tmp_path / "a.txt"
    path.write_text("one")

    def fail() -> None:
        with atomic_write(path) as part:
            part.write_text("tw")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "one"


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """Whoever writes: we, or the library of the tensors."""
    with (
        full_disk(),
        pytest.raises(BadSettings, match=r"a\.txt: cannot be written: File too large"),
        atomic_write(tmp_path / "a.txt") as part,
    ):
        part.write_text("x" * 2000)
    with full_disk(), pytest.raises(BadSettings, match=r"b\.safetensors: cannot be written: .*File too large"):  # noqa: SIM117
        with atomic_write(tmp_path / "b.safetensors") as part:
            save_file({"x": torch.zeros(1000)}, part)
    assert list(tmp_path.iterdir()) == []
