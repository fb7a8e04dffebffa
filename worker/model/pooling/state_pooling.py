"""Pooling of states as arrays, for the poolings that the kernels do not have. Without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.model.pooling.pooling import Pooling

    Floats = NDArray[np.float32]


def pool_states(states: Floats, cu_seqlens: NDArray[np.int64], pooling: Pooling) -> Floats:
    """Pool the states `[T, H]` of packed texts (starts `cu_seqlens`, `[n + 1]`) to `[n, H]`, in fp32."""
    starts, lengths = cu_seqlens[:-1], np.diff(cu_seqlens)
    if pooling == "cls":
        return states[starts]
    if pooling == "last":
        return states[cu_seqlens[1:] - 1]
    if pooling == "max":
        largest: Floats = np.maximum.reduceat(states, starts, axis=0)
        return largest
    divisors: NDArray[np.float64] = lengths.astype(np.float64)
    if pooling == "weighted_mean":
        places = np.arange(1, len(states) + 1) - np.repeat(starts, lengths)
        states = states * places[:, None].astype(np.float32)
        divisors = divisors * (divisors + 1) / 2
    elif pooling == "mean_sqrt_len":
        divisors = np.sqrt(divisors)
    return (np.add.reduceat(states, starts, axis=0) / divisors[:, None]).astype(np.float32)
