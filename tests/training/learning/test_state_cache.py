"""States on disk: whole, found again, and bounded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.model.checkpoint.test_atomic_files import full_disk
from worker.errors import BadSettings
from worker.training.learning.state_cache import StateCache

if TYPE_CHECKING:
    from pathlib import Path

_ROWS, _WIDTH = 1000, 8
_GIGABYTE = 1 << 30
# What one layer takes, with the header of its file.
_LAYER_BYTES = _ROWS * _WIDTH * 2 + 128


def fill(store: StateCache, key: str, layers: tuple[int, ...] = (3,)) -> None:
    """Write an entry whose layers hold their own numbers."""
    with store.add(key, layers, (_ROWS, _WIDTH)) as files:
        for layer in layers:
            for _ in range(2):
                files[layer].write(np.full((_ROWS // 2, _WIDTH), layer, dtype=np.float16).tobytes())


def build_cache(directory: Path, layers: float) -> StateCache:
    """Return a store with room for so many layers."""
    return StateCache(directory, max_gigabytes=layers * _LAYER_BYTES / _GIGABYTE)


def test_an_added_entry_is_memory_mapped(tmp_path: Path) -> None:
    """States are memory-mapped by layer, and missing layers are reported."""
    store = build_cache(tmp_path / "new", 3)
    assert store.find_missing("a", [1, 2]) == [1, 2]
    fill(store, "a", (2, 5))
    assert store.find_missing("a", [1, 2, 5]) == [1]
    five, two = store.read("a", [5, 2])
    assert isinstance(five, np.memmap)
    assert (five.shape, float(five[-1, -1]), float(two[0, 0])) == ((_ROWS, _WIDTH), 5, 2)


def test_the_least_recently_used_entry_is_evicted(tmp_path: Path) -> None:
    """The least recently read entry is evicted, not the oldest written one."""
    fill(build_cache(tmp_path, 2.1), "old")
    fill(build_cache(tmp_path, 2.1), "older")
    for age, key in enumerate(("older", "old")):
        os.utime(tmp_path / f"{key}.3.npy", (1000 + age, 1000 + age))
    build_cache(tmp_path, 2.1).read("older", [3])
    fill(build_cache(tmp_path, 2.1), "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.3.npy", "older.3.npy"]


def test_an_entry_in_use_is_not_evicted(tmp_path: Path) -> None:
    """If no entry can be evicted, the error has the needed size and the limit."""
    store = build_cache(tmp_path, 1.5)
    fill(store, "a")
    store.read("a", [3])
    with pytest.raises(BadSettings, match=r"need .* GB, and cache_gigabytes allows .*: raise it"):
        fill(store, "b")
    assert store.find_missing("a", [3]) == []


def test_a_damaged_entry_is_one_line(tmp_path: Path) -> None:
    """The error names the file and the remedy."""
    store = build_cache(tmp_path, 2)
    fill(store, "a")
    (tmp_path / "a.3.npy").write_bytes(b"x")
    with pytest.raises(BadSettings, match=r"a\.3\.npy: cannot be read: .*delete it and try again"):
        store.read("a", [3])


def test_a_full_disk_leaves_no_half_of_an_entry(tmp_path: Path) -> None:
    """A full disk raises an error in the process; a write through a memory map would kill the process."""
    with full_disk(), pytest.raises(BadSettings, match=r"a\.3\.npy: cannot be written: File too large"):
        fill(build_cache(tmp_path, 2), "a")
    assert list(tmp_path.iterdir()) == []
