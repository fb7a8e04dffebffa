"""Pooling of tensors, for training and for the backends of PyTorch (see `pooling`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from worker.model.pooling.pooling import Pooling, PoolingConfig


def pool(states: Tensor, cu_seqlens: Tensor, pooling: Pooling) -> Tensor:
    """Pool the states `[T, H]` of packed texts (starts `cu_seqlens`, `[n + 1]`) to `[n, H]`, in fp32."""
    if pooling == "cls":
        # An empty text may start after the last row; its value is discarded later.
        return states[cu_seqlens[:-1].clamp(max=len(states) - 1)].float()
    if pooling == "last":
        return states[(cu_seqlens[1:] - 1).clamp(min=0)].float()
    rows, starts, lengths = torch.arange(len(states), device=states.device), cu_seqlens[:-1], cu_seqlens.diff()
    if pooling == "mean":
        # The library's fastest mean over runs of rows.
        return functional.embedding_bag(rows, states.float(), starts, mode="mean")
    if pooling == "mean_sqrt_len":
        return functional.embedding_bag(rows, states.float(), starts, mode="sum") / lengths.clamp(min=1).sqrt()[:, None]
    # Rows past the last text, which fill a captured pass, are of the last text.
    texts = torch.searchsorted(cu_seqlens[1:-1].contiguous(), rows, right=True)
    if pooling == "weighted_mean":
        places = (rows - starts[texts] + 1).float()
        total = functional.embedding_bag(rows, states.float(), starts, mode="sum", per_sample_weights=places)
        return total / (lengths * (lengths + 1) / 2).clamp(min=1)[:, None]
    largest = states.new_full((len(starts), states.shape[1]), -torch.inf, dtype=torch.float32)
    return largest.scatter_reduce(0, texts[:, None].expand_as(states), states.float(), "amax")


def sentence_vectors(pooled: Tensor, config: PoolingConfig) -> Tensor:
    """Return the vectors `[n, H]` of texts from the encoder's last states, pooled, both in fp32."""
    return functional.normalize(pooled, dim=-1) if config.is_normalized else pooled
