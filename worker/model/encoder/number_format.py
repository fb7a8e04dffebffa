"""Number formats of PyTorch, for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from worker.model.processor.devices import choose_format

if TYPE_CHECKING:
    from worker.model.processor.devices import Dtype


def number_format(dtype: Dtype, device: torch.device) -> torch.dtype:
    """Return the number format: `auto` is bfloat16 where that is faster than float32, on a GPU or with AMX, else float32."""
    found = getattr(torch, choose_format(dtype, "cuda" if device.type == "cuda" else "cpu"))
    assert isinstance(found, torch.dtype)  # noqa: S101  a name of a format
    return found
