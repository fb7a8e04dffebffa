"""Tensors of a published file as views of the mapped file: reading costs neither time nor memory until the numbers are used.

The backends copy what they compute with. After the load, nothing reads the mapped file.
"""

from __future__ import annotations

import json
import math
import mmap
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
# The file begins with the size of its header.
_SIZE_BYTES = 8


def map_tensors(path: Path, names: Iterable[str]) -> dict[str, Floats]:
    """Return tensors of a valid safetensors file in fp32: read-only views of the file where they are published so, else copies.

    Raises `BadModel` for tensors that are not floating-point numbers.
    """
    with path.open("rb") as file:
        num_header_bytes = int.from_bytes(file.read(_SIZE_BYTES), "little")
        header = json.loads(file.read(num_header_bytes))
        return {name: _map_tensor(path, file, _SIZE_BYTES + num_header_bytes, name, header[name]) for name in sorted(names)}


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
