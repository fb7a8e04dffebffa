"""Decodes vectors with the standard library alone."""

from __future__ import annotations

import base64
import struct
from array import array

_BITS_OF_BYTE = 8
# The codes of `struct` and the sizes in bytes of little-endian numbers.
_FORMATS = {"float32": ("f", 4), "float16": ("e", 2)}


def decode_numbers(embedding: list[float] | str, encoding: str, *, dim: int, scale: float) -> list[float]:
    """Return the `dim` numbers of a vector in an encoding of `schemas.v1.Embedding`; raises `ValueError` for another content."""
    if isinstance(embedding, list):
        found = embedding
    else:
        content = base64.b64decode(embedding, validate=True)
        if encoding == "binary":
            # The first number is in the highest bit; the last byte may be padded.
            bits = [byte >> shift & 1 for byte in content for shift in range(7, -1, -1)]
            found = [2.0 * bit - 1 for bit in (bits[:dim] if len(bits) - dim < _BITS_OF_BYTE else bits)]
        elif encoding == "int8":
            found = [step * scale for step in array("b", content)]
        else:
            code, size = _FORMATS.get(encoding, ("f", 4))
            found = list(struct.unpack(f"<{len(content) // size}{code}", content)) if len(content) % size == 0 else []
    if len(found) != dim:
        raise ValueError(f"an embedding has {len(found)} numbers, but its dim is {dim}")
    return found
