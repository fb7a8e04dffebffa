"""Readouts as the kernels take them: the shares of the layers, and the weights of heads laid out (`readings.h`). Without torch."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_void_p
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.model.backends.arithmetics import from_bfloat16, lay_out_panels, lay_out_tiles, to_bfloat16
from worker.model.pooling.state_pooling import pool_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from worker.model.backends.arithmetics import Arithmetic
    from worker.model.heads.head_config import HeadWeights
    from worker.model.heads.readout import AnyHead, Readout
    from worker.model.text.packing import Packed

    Floats = NDArray[np.float32]

# The index is the number of the pooling in the kernels; for others they give the states of tokens, which are pooled after the pass.
_POOLINGS = (None, "mean", "cls")
# Columns of a panel of tiles, and the logits that one gives: a logit has two columns.
_TILE_PANEL, _TILE_LOGITS = 32, 16
# Linear maps of a head that the kernels of tiles know.
_TILE_LAYERS = 2


class _HeadLayer(ctypes.Structure):
    _fields_ = (("weights", c_void_p), ("bias", c_void_p), ("inputs", c_int), ("outputs", c_int))


class _VectorHead(ctypes.Structure):
    _fields_ = (("layers", c_void_p), ("num_layers", c_int), ("num_logits", c_int), ("epsilon", c_float))


class _TileHead(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("hidden_w", "hidden_totals", "hidden_b", "output_w", "output_totals", "output_b")),
        *((name, c_int) for name in ("width", "num_logits")),
        ("epsilon", c_float),
    )


class _Reading(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("weights", "head", "out")),
        *((name, c_int) for name in ("pooling", "first", "last")),
    )


class Readouts:
    """Some readouts of an encoder of `hidden_size` dimensions, for kernels with panels of `panel` columns."""

    def __init__(
        self, readouts: Sequence[Readout], *, hidden_size: int, computed_size: int, arithmetic: Arithmetic, panel: int
    ) -> None:
        """Lay them out; the kernels compute `computed_size` dimensions, of which the last are 0."""
        #: The last layer that counts.
        self.num_layers = max(max(readout.layers) for readout in readouts)
        self._readouts, self._is_tiled = readouts, arithmetic.is_tiled
        self._hidden_size, self._computed_size = hidden_size, computed_size
        self._weights = np.zeros((len(readouts), self.num_layers + 1), dtype=np.float32)
        self._heads = [None if readout.head is None else self._lay_out(readout.head, readout, panel) for readout in readouts]
        # What the kernels take, but for where the results go.
        self._structs = (_Reading * len(readouts))()
        for struct, readout, weights, head in zip(self._structs, readouts, self._weights, self._heads, strict=True):
            weights[[layer for layer, _ in readout.weights]] = [weight for _, weight in readout.weights]
            counting = np.flatnonzero(weights)
            struct.weights, struct.pooling = (
                weights.ctypes.data,
                0 if _is_pooled_later(readout) else _POOLINGS.index(readout.pooling),
            )
            struct.first, struct.last = int(counting[0]), int(counting[-1])
            struct.head = None if head is None or self._is_read_later(head, readout) else ctypes.addressof(head.struct)

    def _lay_out(self, head: AnyHead, readout: Readout, panel: int) -> VectorHead | TileHead:
        is_deep = len(head.to_weights().layers) > _TILE_LAYERS
        is_tiled = self._is_tiled and not is_deep and not _is_pooled_later(readout)
        return TileHead(head) if is_tiled else VectorHead(head, panel, self._computed_size)

    def _is_read_later(self, head: VectorHead | TileHead, readout: Readout) -> bool:
        """Tell whether a head is computed after the pass, from the mix: on tiles, with more than one hidden layer."""
        return _is_pooled_later(readout) or (self._is_tiled and isinstance(head, VectorHead))

    def allocate(self, packed: Packed) -> tuple[ctypes.Array[_Reading], list[NDArray[Any]]]:
        """Return what the kernels take for one pass, and the arrays that they fill."""
        structs = type(self._structs).from_buffer_copy(self._structs)
        found: list[NDArray[Any]] = []
        for struct, readout, head in zip(structs, self._readouts, self._heads, strict=True):
            is_of_tokens = readout.pooling is None or _is_pooled_later(readout)
            num_rows = len(packed.ids) if is_of_tokens else len(packed.cu_seqlens) - 1
            width = self._computed_size if not struct.head else head.struct.num_logits if head else 0
            is_narrow = self._is_tiled and is_of_tokens and not struct.head
            found.append(np.empty((num_rows, width), dtype=np.uint16 if is_narrow else np.float32))
            struct.out = found[-1].ctypes.data
        return structs, found

    def finish(self, filled: Sequence[NDArray[Any]], packed: Packed, loaded: ctypes.CDLL) -> list[Floats]:
        """Return the results of what the kernels filled, in fp32: states on tiles are bfloat16.

        Some poolings and some heads are computed now.
        """
        wide: list[Floats] = [from_bfloat16(array) if array.dtype == np.uint16 else array for array in filled]
        num_filling = self._computed_size - self._hidden_size
        for number, (readout, head) in enumerate(zip(self._readouts, self._heads, strict=True)):
            if readout.pooling is not None and _is_pooled_later(readout):
                wide[number] = np.ascontiguousarray(pool_states(wide[number], packed.cu_seqlens, readout.pooling), dtype=np.float32)
            if head is not None and self._is_read_later(head, readout):
                mixed, logits = wide[number], np.empty((len(wide[number]), head.struct.num_logits), dtype=np.float32)
                pointers = (c_void_p(mixed.ctypes.data), c_void_p(logits.ctypes.data))
                if loaded.gist_read_head(ctypes.byref(head.struct), len(mixed), self._computed_size, num_filling, *pointers):
                    raise MemoryError("there is no memory left for a head")
                wide[number] = logits
            if head is None and num_filling:
                wide[number] = np.ascontiguousarray(wide[number][:, : self._hidden_size])
        return wide


def _is_pooled_later(readout: Readout) -> bool:
    """Tell whether the states of tokens are pooled after the pass."""
    return readout.pooling not in _POOLINGS


class VectorHead:
    """The layers of a head in fp32; the norm's gain and bias are part of the first."""

    def __init__(self, head: AnyHead, panel: int, num_inputs: int) -> None:
        """Lay out the weights for rows of `num_inputs` numbers, of which the last may be 0."""
        # Kept as long as the kernels read them.
        self._arrays: list[Floats] = []
        own = head.to_weights()
        pairs = _fold_norm(own)
        self._structs = (_HeadLayer * len(pairs))()
        for struct, (weight, bias) in zip(self._structs, pairs, strict=True):
            # The zeros that fill the last panel have no weight in the next layer.
            filled, filled_bias = _fill_up(weight, bias, panel, num_inputs)
            laid_out = lay_out_panels(filled, panel)
            self._arrays += [laid_out, filled_bias]
            struct.weights, struct.bias = laid_out.ctypes.data, filled_bias.ctypes.data
            struct.inputs, struct.outputs = num_inputs, len(filled_bias)
            num_inputs = len(filled_bias)
        #: What the kernels take.
        self.struct = _VectorHead(ctypes.addressof(self._structs), len(pairs), own.config.num_logits, own.norm_epsilon)


class TileHead:
    """A head whose products are in bfloat16; the weights of the last, which is small, keep the digits of two numbers."""

    def __init__(self, head: AnyHead) -> None:
        """Lay out the weights; the hidden layer is the only one."""
        own = head.to_weights()
        *hidden, (output, output_bias) = _fold_norm(own)
        arrays: list[NDArray[Any] | None] = [None, None, None]
        if hidden:
            ((weight, bias),) = hidden
            weight, bias = _fill_up(weight, bias, _TILE_PANEL, weight.shape[1])
            rounded = to_bfloat16(weight)
            arrays = [lay_out_tiles(rounded), from_bfloat16(rounded).sum(axis=1), bias]
        width = len(arrays[2]) if arrays[2] is not None else 0
        output, output_bias = _fill_up(output, output_bias, _TILE_LOGITS, width or output.shape[1])
        by_panels = output.reshape(-1, 1, _TILE_LOGITS, output.shape[1])
        first = to_bfloat16(by_panels)
        in_two = np.concatenate([first, to_bfloat16(by_panels - from_bfloat16(first))], axis=1)
        totals = from_bfloat16(in_two).sum(axis=(1, 3)).reshape(-1)
        self._arrays = [*arrays, lay_out_tiles(in_two.reshape(-1, output.shape[1])), totals, output_bias]
        addresses = [None if array is None else array.ctypes.data for array in self._arrays]
        #: What the kernels take.
        self.struct = _TileHead(*addresses, width, own.config.num_logits, own.norm_epsilon)


def _fold_norm(head: HeadWeights) -> list[tuple[Floats, Floats]]:
    """Return weights and bias of each layer of a head, the norm's gain and bias in those of the first."""
    (weight, bias), *others = head.layers
    return [(weight * head.norm_gain, bias + weight @ head.norm_bias), *others]


def _fill_up(weight: Floats, bias: Floats, step: int, num_inputs: int) -> tuple[Floats, Floats]:
    """Return weights and biases with zeros up to a multiple of `step` outputs, and up to `num_inputs` inputs."""
    missing = -len(bias) % step
    return np.pad(weight, ((0, missing), (0, num_inputs - weight.shape[1]))).astype(np.float32), np.pad(bias, (0, missing))
