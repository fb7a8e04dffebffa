"""Computed states on disk: found again by what they depend on, read through memory maps, and bounded in size.

An entry is one file for each layer, `<key>.<layer>.npy`, float16, `[rows, H]`; a file that is there is whole. What was read the
longest ago goes first when room is needed.
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
    """A directory of states that holds at most so many bytes."""

    def __init__(self, directory: Path, *, max_gigabytes: float) -> None:
        """Use a directory, which need not be there yet."""
        self._directory = directory
        self._max_bytes = int(max_gigabytes * _GIGABYTE)
        # What this process reads: it is never removed to make room.
        self._used: set[Path] = set()

    def missing(self, key: str, layers: Sequence[int]) -> list[int]:
        """Return the layers of an entry that are not there."""
        return [layer for layer in layers if not self._path(key, layer).exists()]

    def read(self, key: str, layers: Sequence[int]) -> list[NDArray[np.float16]]:
        """Return the layers of an entry, memory-mapped; raises `BadSettings` where one is damaged."""
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
    def adding(self, key: str, layers: Sequence[int], shape: tuple[int, int]) -> Iterator[Mapping[int, BinaryIO]]:
        """Give for each layer a file to which rows are appended, `shape` of them in the end; make room before.

        Raises `BadSettings` where there is no room, or the disk is full.
        """
        num_bytes = len(layers) * shape[0] * shape[1] * _HALF.itemsize
        self._make_room(num_bytes)
        with ExitStack() as stack:
            files: dict[int, BinaryIO] = {}
            for layer in layers:
                part = stack.enter_context(atomic_write(self._path(key, layer)))
                # An ordinary file, not a map: a full disk is then an error, where a map would end the process.
                files[layer] = stack.enter_context(part.open("wb"))
                header = {"descr": _HALF.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(files[layer], header)
            yield files

    def _make_room(self, num_bytes: int) -> None:
        """Remove what was read the longest ago, until so many bytes fit."""
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
