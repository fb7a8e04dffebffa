"""A cache of computed states on disk, memory-mapped and bounded in size.

An entry is one file for each layer, `<key>.<layer>.npy`, float16, `[rows, H]`; files are complete. The
least recently used files are evicted first.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from worker.errors import BadSettings
from worker.model.checkpoint.atomic_files import atomic_write, translate_write_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_GIGABYTE = 1 << 30
_HALF = np.dtype(np.float16)


class StateCache:
    """A directory of states with a maximum size."""

    def __init__(self, directory: Path, *, max_gigabytes: float) -> None:
        self._directory = directory
        self._max_bytes = int(max_gigabytes * _GIGABYTE)
        # Files that this process reads, which are never evicted.
        self._used: set[Path] = set()

    def find_missing(self, key: str, layers: Sequence[int]) -> list[int]:
        """Return the layers of an entry that are not in the cache."""
        return [layer for layer in layers if not self._path(key, layer).exists()]

    def read(self, key: str, layers: Sequence[int]) -> list[NDArray[np.float16]]:
        """Return the layers of an entry, memory-mapped; raises `BadSettings` for a damaged file."""
        states = []
        for path in (self._path(key, layer) for layer in layers):
            try:
                states.append(np.load(path, mmap_mode="r"))
            except (OSError, ValueError) as error:
                raise BadSettings(f"{path}: cannot be read: {error}; delete it and try again") from error
            self._used.add(path)
            with translate_write_errors(path):
                os.utime(path)
        return states

    @contextmanager
    def add(self, key: str, layers: Sequence[int], shape: tuple[int, int]) -> Iterator[Mapping[int, BinaryIO]]:
        """Yield a file for each layer, to which the caller appends `shape` values, after evicting old files.

        Raises `BadSettings` if the entry exceeds the maximum size, and if the disk is full.
        """
        num_bytes = len(layers) * shape[0] * shape[1] * _HALF.itemsize
        self._make_room(num_bytes)
        with ExitStack() as stack:
            files: dict[int, BinaryIO] = {}
            for layer in layers:
                part = stack.enter_context(atomic_write(self._path(key, layer)))
                # With an ordinary file, a full disk is an error; with a memory map, it would end the process.
                files[layer] = stack.enter_context(part.open("wb"))
                header = {"descr": _HALF.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(files[layer], header)
            yield files

    def _make_room(self, num_bytes: int) -> None:
        """Evict the least recently used files until `num_bytes` fit."""
        entries = sorted(self._directory.glob("*.npy"), key=lambda path: path.stat().st_mtime)
        total = sum(entry.stat().st_size for entry in entries)
        for path in entries:
            if total + num_bytes <= self._max_bytes:
                break
            if path not in self._used:
                total -= path.stat().st_size
                path.unlink()
        if total + num_bytes > self._max_bytes:
            raise BadSettings(
                f"{self._directory}: the states of these texts need {(total + num_bytes) / _GIGABYTE:.1f} GB, and cache_gigabytes "
                f"allows {self._max_bytes / _GIGABYTE:.1f}: raise it, or let heads read fewer layers"
            )

    def _path(self, key: str, layer: int) -> Path:
        return self._directory / f"{key}.{layer}.npy"
