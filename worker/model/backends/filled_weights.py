"""Encoders of any width for kernels of whole panels: heads, states and feed-forward are filled up with zeros. Without torch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from worker.model.encoder.encoder_weights import EncoderWeights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from worker.model.encoder.encoder_config import EncoderConfig

    Floats = NDArray[np.float32]

# Columns that a step of every kernel divides.
_STEP = 32


def fill_config(config: EncoderConfig, panel: int) -> EncoderConfig:
    """Return the shape with heads of whole panels, and state and feed-forward of whole steps; the same where that is so already.

    Attention that uses distances stays as it is: its tables depend on the width of a head.
    """
    if not config.attention.is_plain:
        return config
    num_heads, step = config.num_attention_heads, math.lcm(panel, _STEP // math.gcd(_STEP, config.num_attention_heads))
    width = -(-config.hidden_size // num_heads // step) * step
    return replace(config, hidden_size=num_heads * width, intermediate_size=-(-config.intermediate_size // _STEP) * _STEP)


def fill_weights(weights: EncoderWeights, panel: int) -> EncoderWeights:
    """Return the weights of the filled encoder: what is added is 0, and the last columns of a state are 0."""
    config, filled = weights.config, fill_config(weights.config, panel)
    if filled == config:
        return weights
    own, of_heads, wide = np.arange(config.hidden_size), _place_heads(config, filled), filled.hidden_size
    inner, halves = np.arange(config.intermediate_size), range(1 + config.is_gated)
    of_queries = np.concatenate([of_heads + part * wide for part in range(3)])
    of_halves = np.concatenate([inner + half * filled.intermediate_size for half in halves])
    rows = {"attention.query_key_value": (of_queries, 3 * wide), "expand": (of_halves, len(halves) * filled.intermediate_size)}
    columns = {"attention.output": (of_heads, wide), "contract": (inner, filled.intermediate_size)}

    def fill(name: str, array: Floats) -> Floats:
        module = name.rpartition(".")[0]
        kind = module.split(".", 2)[-1] if module.startswith("layers.") else module
        if kind in {"words", "positions", "types", "norm"} and config.embedding_size:
            return array
        if kind in {"words", "positions", "types"}:
            return _place(array, 1, own, wide)
        if kind == "attention.query_key_value":
            # The scores of a query are divided by the root of the filled width.
            array = array.copy()
            array[: config.hidden_size] *= np.float32((wide / config.hidden_size) ** 0.5)
        array = _place(array, 0, *rows.get(kind, (own, wide)))
        return array if array.ndim == 1 or kind == "project" else _place(array, 1, *columns.get(kind, (own, wide)))

    return EncoderWeights(filled, {name: fill(name, array) for name, array in weights.arrays.items()})


def fill_ranges(ranges: Mapping[str, Floats], config: EncoderConfig, filled: EncoderConfig) -> Mapping[str, Floats]:
    """Return the ranges of a calibration for the filled encoder."""
    if filled == config:
        return ranges
    own, of_heads = np.arange(config.hidden_size), _place_heads(config, filled)
    return {
        name: _place(sizes, 0, of_heads if name.endswith(".output") else own, filled.hidden_size) for name, sizes in ranges.items()
    }


def _place_heads(config: EncoderConfig, filled: EncoderConfig) -> NDArray[np.int64]:
    """Return the place of each number of all heads, side by side."""
    width, own = config.hidden_size // config.num_attention_heads, np.arange(config.hidden_size)
    return own // width * (filled.hidden_size // filled.num_attention_heads) + own % width


def _place(array: Floats, axis: int, places: NDArray[np.int64], size: int) -> Floats:
    """Return an array of `size` zeros along an axis, with the numbers of `array` at `places`."""
    shape = list(array.shape)
    shape[axis] = size
    found = np.zeros(shape, dtype=np.float32)
    found[(slice(None),) * axis + (places,)] = array
    return found
