"""The mathematics of distances between tokens, as tables for every backend. Pure.

Distances are rounded to buckets in fp32, as the published code does: a bucket's edge depends on it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.model.encoder.encoder_config import AttentionConfig

    Floats = NDArray[np.float32]

# The distance from which on all are in the last bucket of a bias, as MPNet has it.
_LARGEST_BIASED = 128


def find_bias_buckets(num_buckets: int, length: int) -> NDArray[np.int64]:
    """Return the bucket of each distance from a query to a key, from `1 - length` on, int64, `[2 * length - 1]` (T5's formula)."""
    distances = np.arange(1 - length, length)
    half, sizes = num_buckets // 2, np.abs(distances)
    exact = half // 2
    with np.errstate(divide="ignore"):
        logs = np.log((sizes / np.float32(exact)).astype(np.float32)) / np.float32(math.log(_LARGEST_BIASED / exact))
    rounded = np.minimum(exact + np.maximum(logs * np.float32(half - exact), 0).astype(np.int64), half - 1)
    buckets: NDArray[np.int64] = np.where(sizes < exact, sizes, rounded) + half * (distances > 0)
    return buckets


def find_distance_rows(config: AttentionConfig, length: int) -> NDArray[np.int64]:
    """Return the row of the table of distances for each distance from a key to a query, from `1 - length` on.

    int64, `[2 * length - 1]`; the rows rise with the distance.
    """
    distances = np.arange(1 - length, length)
    if config.max_distance:
        middle = config.span // 2
        sizes = np.abs(distances)
        far = np.maximum(sizes, middle).astype(np.float32) / np.float32(middle)
        share = np.log(far) / np.log(np.float32((config.max_distance - 1) / middle))
        rounded = np.ceil(share * np.float32(middle - 1)) + middle
        distances = np.where(sizes <= middle, distances, rounded * np.sign(distances)).astype(np.int64)
    rows: NDArray[np.int64] = np.clip(distances + config.span, 0, 2 * config.span - 1)
    return rows


def compute_rotary(base: float, divisor: float, width: int, length: int) -> tuple[Floats, Floats]:
    """Return the cosines and sines of rotary positions, fp32, `[length, width / 2]` each (Su et al., "RoFormer", 2021)."""
    frequencies = 1 / np.float32(base) ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width)) / np.float32(divisor)
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)
