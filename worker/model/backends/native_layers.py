"""The parameters of an encoder in the order in which the kernels take them (`engine/shape.h`). Without torch."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from worker.model.backends.arithmetics import lay_out_contraction, lay_out_panels
from worker.model.backends.native_distances import NativeDistances

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from worker.model.backends.arithmetics import Arithmetic, Product
    from worker.model.encoder.encoder_config import EncoderConfig
    from worker.model.encoder.encoder_weights import EncoderWeights

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
        num_filling: int = 0,
    ) -> None:
        """Use the `ranges` of a calibration where the arithmetic is calibrated; the last `num_filling` columns of a state are 0."""
        self._num_filling = num_filling
        self._weights, self._config, self._arithmetic, self._panel = weights.arrays, weights.config, arithmetic, panel
        self._ranges = ranges if arithmetic.is_calibrated else None
        self._order = _order_by_parts(weights.config)
        self._distances = NativeDistances(weights, panel)

    def parameters(self) -> Iterator[list[NDArray[Any] | None]]:
        """Yield the parameters of each layer."""
        return map(self._list_layer, range(self._config.num_hidden_layers))

    def shape(self) -> tuple[list[int], list[float]]:
        """Return the fields of `Shape` beyond sizes, layers and activation."""
        config = self._config
        gate = (1 + config.is_second_half_activated) if config.is_gated else 0
        own = [config.embedding_size, gate, config.is_norm_first, config.max_tokens, self._distances.num_rows, self._num_filling]
        return [int(number) for number in own], [config.layer_norm_eps, self._distances.scale]

    def tables(self) -> list[NDArray[Any] | None]:
        """Return the embeddings of words and places, gain and bias of their norm, and the map from embeddings to states."""
        weights, lay_out, config = self._weights, self._arithmetic.in_tables, self._config
        words, places = weights["words.weight"], weights.get("positions.weight")
        if places is not None:
            places = places[config.first_position :]
            places = lay_out(places + weights["types.weight"][0] if config.type_vocab_size else places)
        elif config.type_vocab_size:
            words = words + weights["types.weight"][0]
        gain, project = weights.get("norm.weight"), weights.get("project.weight")
        return [
            *(lay_out(words), places, gain, None if gain is None else self._bias("norm", len(gain))),
            *((None, None) if project is None else (lay_out_panels(project, self._panel), weights["project.bias"])),
        ]

    def _bias(self, name: str, width: int) -> Floats:
        """Return a bias, which is 0 where the encoder has none."""
        found = self._weights.get(f"{name}.bias")
        return np.zeros(width, dtype=np.float32) if found is None else found

    def _list_norms(self, number: int) -> list[Floats]:
        """Return gain and bias of the norms after attention and after the feed-forward of a layer.

        Norms that come first are those of what comes next; after the last layer that is the final norm.
        """
        names = [f"layers.{number}.attention_norm", f"layers.{number}.feed_forward_norm"]
        if self._config.is_norm_first:
            is_last = number == self._config.num_hidden_layers - 1
            names = [names[1], "final_norm" if is_last else f"layers.{number + 1}.attention_norm"]
        return [array for name in names for array in (self._weights[f"{name}.weight"], self._bias(name, self._config.hidden_size))]

    def _list_layer(self, number: int) -> list[NDArray[Any] | None]:
        prefix, hidden = f"layers.{number}.", self._config.hidden_size
        own = {name.removeprefix(prefix): weight for name, weight in self._weights.items() if name.startswith(prefix)}
        kinds = {"attention.query_key_value": 3 * hidden, "attention.output": hidden, "contract": hidden}
        mix_bias, output_bias, bias = (self._bias(f"{prefix}{kind}", width) for kind, width in kinds.items())
        mix, mix_in = self._product(own["attention.query_key_value.weight"][self._order], number, "query_key_value")
        output, output_in = self._product(own["attention.output.weight"], number, "output")
        expand, expand_in = self._product(own["expand.weight"], number, "expand")
        contract = lay_out_contraction(own["contract.weight"], self._arithmetic, self._panel)
        contract_start = contract.start if self._config.is_gated else None
        if not self._config.is_gated and contract.totals is not None and contract.scale is not None:
            # The bytes of an activation count from its minimum, and what that adds to every sum is the same.
            bias = bias + (contract.totals * contract.scale).sum(axis=0) * _LEAST_ACTIVATION
        norms = self._list_norms(number)
        limits = np.array([product.limit for product in (mix, output, expand, contract)], dtype=np.float32)
        return [
            *(mix.weights, mix_bias[self._order], output.weights, output_bias, *norms[:2]),
            *(expand.weights, self._bias(f"{prefix}expand", len(own["expand.weight"])), contract.weights, bias, *norms[2:]),
            *(mix_in, output_in, expand_in, mix.scale, output.scale, expand.scale, contract.scale),
            *(mix.start, output.start, expand.start, contract_start, limits),
            *self._distances.list_layer(number, own["attention.query_key_value.weight"], mix_bias),
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
    """Arrays in pieces of memory of large pages, where an address is found faster."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        """Hold no array yet."""
        self._library = loaded
        # What the addresses belong to.
        self._pieces: list[NDArray[Any]] = []
        # The addresses of the arrays that were placed and that are still in use.
        self._placed: WeakValueDictionary[int, NDArray[Any]] = WeakValueDictionary()
        self._addresses: dict[int, int] = {}

    def place(self, arrays: Sequence[NDArray[Any] | None]) -> list[int | None]:
        """Copy arrays into a piece of their own and return their addresses; an array that comes more than once is copied once.

        The kernels read nothing but these copies: a file of weights that is truncated later does not end the process.
        """
        new = {id(array): array for array in arrays if array is not None and id(array) not in self._placed}
        offsets = np.cumsum([0, *(-(-array.nbytes // _LINE) * _LINE for array in new.values())]).tolist()
        piece = np.empty(offsets[-1] + _LARGE_PAGE, dtype=np.uint8)
        first = -piece.ctypes.data % _LARGE_PAGE
        self._library.gist_prefer_large_pages(ctypes.c_void_p(piece.ctypes.data + first), ctypes.c_size_t(offsets[-1]))
        for array, offset in zip(new.values(), offsets, strict=False):
            piece[first + offset : first + offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._pieces.append(piece)
        self._addresses |= {key: piece.ctypes.data + first + offset for key, offset in zip(new, offsets, strict=False)}
        self._placed.update(new)
        return [None if array is None else self._addresses[id(array)] for array in arrays]


def to_pointers(addresses: Sequence[int | None]) -> ctypes.Array[ctypes.c_void_p]:
    """Return addresses as the kernels take them."""
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _order_by_parts(config: EncoderConfig) -> NDArray[np.int64]:
    """Return the order of the outputs of query, key and value, those of some heads together: `[parts, 3, heads of a part]`."""
    num_heads, hidden = config.num_attention_heads, config.hidden_size
    width = hidden // num_heads
    heads = next(count for count in range(max(1, PART // width), 0, -1) if num_heads % count == 0)
    return np.arange(3 * hidden).reshape(3, num_heads // heads, heads * width).transpose(1, 0, 2).reshape(-1)
