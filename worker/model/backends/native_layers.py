"""The parameters of an encoder in the order in which the kernels take them (`engine/shape.h`). Without torch."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from worker.model.backends.arithmetics import Arithmetic, Product
    from worker.model.encoder_config import EncoderConfig
    from worker.model.encoder_weights import EncoderWeights

    Floats = NDArray[np.float32]

# Channels of the heads that are computed together.
PART = 128
# The smallest result of an activation, from which its bytes count.
_LEAST_ACTIVATION = np.float32(-0.1703)
# The share of a channel's size that the activations keep; the weights take the rest (Xiao et al., "SmoothQuant", 2023).
_SMOOTHING = {"query_key_value": 0.75, "output": 0.7, "expand": 0.75}
# How much larger an activation may be than in the calibration, on tiles, which cut the results of attention at a fixed place.
_MARGIN, _LARGEST_BYTE = 1.3, 127
_TINY = np.float32(1e-5)
# Arrays begin at a line of the cache; the memory that holds all begins at a large page.
_LINE, _LARGE_PAGE = 64, 2 << 20


class Layers:
    """The layers of an encoder."""

    def __init__(
        self,
        weights: EncoderWeights,
        arithmetic: Arithmetic,
        *,
        panel: int,
        ranges: Mapping[str, Floats] | None,
    ) -> None:
        """Use the `ranges` of a calibration where the arithmetic is calibrated."""
        self._weights, self._config, self._arithmetic, self._panel = weights.arrays, weights.config, arithmetic, panel
        self._ranges = ranges if arithmetic.is_calibrated else None
        self._order = _order_by_parts(weights.config)

    def parameters(self) -> list[NDArray[Any] | None]:
        """Return the parameters of all layers, layer by layer."""
        return [array for number in range(self._config.num_hidden_layers) for array in self._list_layer(number)]

    def tables(self) -> list[NDArray[Any]]:
        """Return the embeddings of words and places, and the gain and bias of their norm."""
        weights, lay_out = self._weights, self._arithmetic.in_tables
        places = weights["positions.weight"][self._config.first_position :]
        if self._config.type_vocab_size:
            places = places + weights["types.weight"][0]
        return [lay_out(weights["words.weight"]), lay_out(places), weights["norm.weight"], weights["norm.bias"]]

    def _list_layer(self, number: int) -> list[NDArray[Any] | None]:
        prefix = f"layers.{number}."
        own = {name.removeprefix(prefix): weight for name, weight in self._weights.items() if name.startswith(prefix)}
        mix, mix_in = self._product(own["attention.query_key_value.weight"][self._order], number, "query_key_value")
        output, output_in = self._product(own["attention.output.weight"], number, "output")
        expand, expand_in = self._product(own["expand.weight"], number, "expand")
        contract = self._arithmetic.lay_out(own["contract.weight"], self._panel)
        bias = own["contract.bias"]
        if contract.totals is not None and contract.scale is not None:
            # The bytes of an activation count from its minimum, and what that adds to every sum is the same.
            bias = bias + contract.totals * contract.scale * _LEAST_ACTIVATION
        norms = [[own[f"{name}.weight"], own[f"{name}.bias"]] for name in ("attention_norm", "feed_forward_norm")]
        mix_bias = own["attention.query_key_value.bias"][self._order]
        limits = np.array([product.limit for product in (mix, output, expand, contract)], dtype=np.float32)
        return [
            *(mix.weights, mix_bias, output.weights, own["attention.output.bias"], *norms[0]),
            *(expand.weights, own["expand.bias"], contract.weights, bias, *norms[1]),
            *(mix_in, output_in, expand_in, mix.scale, output.scale, expand.scale, contract.scale),
            *(mix.start, output.start, expand.start, limits),
        ]

    def _product(self, weight: Floats, number: int, kind: str) -> tuple[Product, Floats | None]:
        """Lay out weights; with ranges, move the size of large input channels to them and return the factors of the channels."""
        if self._ranges is None:
            return self._arithmetic.lay_out(weight, self._panel), None
        share, largest = _SMOOTHING[kind], np.maximum(self._ranges[f"{number}.{kind}"], _TINY)
        factor = np.maximum(np.abs(weight).max(axis=0), _TINY) ** (1 - share) / largest**share
        if self._arithmetic.is_tiled and kind == "output":
            # What attention gives is cut at a fixed place, since a thread does not see a whole row of it at once.
            factor = factor / ((largest * factor).max() * _MARGIN / _LARGEST_BYTE)
        factor = factor.astype(np.float32)
        return self._arithmetic.lay_out(weight / factor, self._panel), factor


class Memory:
    """Arrays in one piece of memory of large pages, where an address is found faster."""

    def __init__(self, arrays: Sequence[NDArray[Any] | None], loaded: ctypes.CDLL) -> None:
        """Copy the arrays."""
        sizes = [0 if array is None else -(-array.nbytes // _LINE) * _LINE for array in arrays]
        self._memory = np.empty(sum(sizes) + _LARGE_PAGE, dtype=np.uint8)
        first = -self._memory.ctypes.data % _LARGE_PAGE
        loaded.gist_prefer_large_pages(ctypes.c_void_p(self._memory.ctypes.data + first), ctypes.c_size_t(sum(sizes)))
        #: The address of each array; None for one that is None.
        self.addresses: list[int | None] = []
        for array, offset in zip(arrays, np.cumsum([first, *sizes]).tolist(), strict=False):
            if array is not None:
                self._memory[offset : offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self.addresses.append(None if array is None else self._memory.ctypes.data + offset)


def to_pointers(addresses: Sequence[int | None]) -> ctypes.Array[ctypes.c_void_p]:
    """Return addresses as the kernels take them."""
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _order_by_parts(config: EncoderConfig) -> NDArray[np.int64]:
    """Return the order of the outputs of query, key and value, those of some heads together: `[parts, 3, heads of a part]`."""
    num_heads, hidden = config.num_attention_heads, config.hidden_size
    width = hidden // num_heads
    heads = next(count for count in range(max(1, PART // width), 0, -1) if num_heads % count == 0)
    return np.arange(3 * hidden).reshape(3, num_heads // heads, heads * width).transpose(1, 0, 2).reshape(-1)
