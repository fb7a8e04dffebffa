"""How weights lie in memory for the tile registers of a processor (AMX), as `native/tiles.h` reads them."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

#: What tiles count in: columns of a panel, and bytes of a step.
PANEL, STEP_BYTES = 32, 64
_LARGE_PAGE = 2 << 20


def laid_out(weight: Tensor) -> Tensor:
    """Return weights `[outputs, inputs]`, bf16 or int8, by panels of 32 outputs, steps of 64 bytes, and two tiles of 16 outputs.

    A row of a tile holds four bytes of input for each of its outputs.
    """
    outputs, inputs = weight.shape
    pair = 4 // weight.element_size()
    return weight.view(outputs // PANEL, 2, 16, inputs // (16 * pair), 16, pair).permute(0, 3, 1, 4, 2, 5).contiguous()


def together(tensors: Sequence[Tensor | None], loaded: ctypes.CDLL) -> tuple[Tensor, list[int | None]]:
    """Copy tensors one behind the other into large pages, where an address is found faster; return the memory and their places."""
    sizes = [0 if it is None else -(-it.nbytes // STEP_BYTES) * STEP_BYTES for it in tensors]
    memory = torch.empty(sum(sizes) + _LARGE_PAGE, dtype=torch.uint8)
    first = -memory.data_ptr() % _LARGE_PAGE
    loaded.gist_prefer_large_pages(ctypes.c_void_p(memory.data_ptr() + first), ctypes.c_size_t(sum(sizes)))
    places: list[int | None] = []
    for tensor, offset in zip(tensors, np.cumsum([first, *sizes]).tolist(), strict=False):
        if tensor is not None:
            memory[offset : offset + tensor.nbytes] = tensor.contiguous().view(-1).view(torch.uint8)
        places.append(None if tensor is None else memory.data_ptr() + offset)
    return memory, places


def array(pointers: Sequence[int | None]) -> ctypes.Array[ctypes.c_void_p]:
    """Return pointers as the kernels take them."""
    return (ctypes.c_void_p * len(pointers))(*pointers)
