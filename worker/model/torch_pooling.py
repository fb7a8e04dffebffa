"""Pooling of tensors, for training and for the backends of PyTorch (see `pooling`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from worker.model.pooling import Pooling, PoolingConfig


def pool(states: Tensor, cu_seqlens: Tensor, pooling: Pooling) -> Tensor:
    """Pool the states `[T, H]` of packed texts (starts `cu_seqlens`, `[n + 1]`) to `[n, H]`, in fp32."""
    if pooling == "cls":
        # An empty text may start after the last row; its value is discarded later.
        return states[cu_seqlens[:-1].clamp(max=len(states) - 1)].float()
    rows = torch.arange(len(states), device=states.device)
    # The library's fastest mean over runs of rows.
    return functional.embedding_bag(rows, states.float(), cu_seqlens[:-1], mode="mean")


def sentence_vectors(pooled: Tensor, config: PoolingConfig) -> Tensor:
    """Return the vectors `[n, H]` of texts from the encoder's last states, pooled, both in fp32."""
    return functional.normalize(pooled, dim=-1) if config.is_normalized else pooled
