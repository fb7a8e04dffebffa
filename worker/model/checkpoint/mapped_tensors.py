"""Tensors of a published file as views of the mapped file: reading costs neither time nor memory until the numbers are used.

The libraries of a checkpoint replace files and never write into them, so a mapped file does not change. `take_overwritten` finds
the files that another program wrote into.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
from os.path import samestat
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# NumPy has no bfloat16: the first half of an fp32 number.
_FORMATS = {"F16": np.float16, "BF16": np.uint16, "F32": np.float32, "F64": np.float64}
# Each file as it was when it was mapped.
_mapped_files: dict[Path, os.stat_result] = {}
# The file begins with the size of its header.
_SIZE_BYTES = 8


def map_tensors(path: Path, names: Iterable[str]) -> dict[str, Floats]:
    """Return tensors of a valid safetensors file in fp32: read-only views of the file where they are published so, else copies.

    Raises `BadModel` for tensors that are not floating-point numbers.
    """
    with path.open("rb") as file:
        num_header_bytes = int.from_bytes(file.read(_SIZE_BYTES), "little")
        header = json.loads(file.read(num_header_bytes))
        _mapped_files[path] = os.fstat(file.fileno())
        return {name: _map_tensor(path, file, _SIZE_BYTES + num_header_bytes, name, header[name]) for name in sorted(names)}


def take_overwritten() -> list[Path]:
    """Return the files that were written in place after they were mapped, each once: their tensors have changed.

    A file that was replaced or deleted is not returned, because the mapped file remains.
    """
    overwritten = []
    for path, mapped in list(_mapped_files.items()):
        with contextlib.suppress(OSError):
            now = path.stat()
            if samestat(now, mapped) and (now.st_size, now.st_mtime_ns) != (mapped.st_size, mapped.st_mtime_ns):
                _mapped_files[path] = now
                overwritten.append(path)
    return overwritten


def _map_tensor(path: Path, file: BinaryIO, first: int, name: str, entry: Mapping[str, Any]) -> Floats:
    """Map one tensor, whose pages are released with its array."""
    form, shape = entry["dtype"], entry["shape"]
    if form not in _FORMATS:
        raise BadModel(f"{path}: the tensor {name} holds {form}, and weights of {', '.join(sorted(_FORMATS))} are read")
    begin, end = (first + offset for offset in entry["data_offsets"])
    inside = begin % mmap.ALLOCATIONGRANULARITY
    mapped = mmap.mmap(file.fileno(), end - begin + inside, access=mmap.ACCESS_READ, offset=begin - inside)
    numbers = np.frombuffer(mapped, _FORMATS[form], math.prod(shape), inside).reshape(shape)
    return (numbers.astype(np.uint32) << 16).view(np.float32) if form == "BF16" else numbers.astype(np.float32, copy=False)
