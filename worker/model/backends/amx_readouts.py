"""Readings as the kernels of `native/tiled_readings.h` take them: the shares of the layers, and the heads of tokens laid out."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_void_p
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from worker.model.backends.amx_layout import PANEL, laid_out, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from worker.model.heads import Head
    from worker.model.packing import Packed
    from worker.model.readout import Readout

# As the kernels number them.
_POOLINGS = (None, "mean", "cls")
# The logits of a panel.
_LOGITS = PANEL // 2


class _Head(ctypes.Structure):
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


class AmxReadouts:
    """Some readings of an encoder of `hidden_size` dimensions."""

    def __init__(self, readings: Sequence[Readout], hidden_size: int, loaded: ctypes.CDLL) -> None:
        """Lay them out."""
        #: The last layer that counts.
        self.num_layers = max(max(it.layers) for it in readings)
        self._readings, self._hidden_size = readings, hidden_size
        self._weights = np.zeros((len(readings), self.num_layers + 1), dtype=np.float32)
        self._heads = [None if it.head is None else AmxHead(it.head, loaded) for it in readings]
        # What the kernels take, but for where the results go.
        self._structs = (_Reading * len(readings))()
        for struct, reading, weights, head in zip(self._structs, readings, self._weights, self._heads, strict=True):
            weights[[layer for layer, _ in reading.weights]] = [weight for _, weight in reading.weights]
            counting = np.flatnonzero(weights)
            struct.weights, struct.pooling = weights.ctypes.data, _POOLINGS.index(reading.pooling)
            struct.first, struct.last = int(counting[0]), int(counting[-1])
            struct.head = None if head is None else ctypes.addressof(head.struct)

    def room(self, packed: Packed) -> tuple[ctypes.Array[_Reading], list[Tensor]]:
        """Return what the kernels take for one pass, and the tensors that they fill."""
        structs = type(self._structs).from_buffer_copy(self._structs)
        found = []
        for struct, reading in zip(structs, self._readings, strict=True):
            num_rows = len(packed.ids) if reading.pooling is None else len(packed.cu_seqlens) - 1
            width = self._hidden_size if reading.head is None else reading.head.config.num_logits
            is_states = reading.pooling is None and reading.head is None
            found.append(torch.empty(num_rows, width, dtype=torch.bfloat16 if is_states else torch.float32))
            struct.out = found[-1].data_ptr()
        return structs, found


class AmxHead:
    """A head whose products are in bf16; the weights of the last, which is small, keep the digits of two numbers."""

    def __init__(self, head: Head, loaded: ctypes.CDLL) -> None:
        """Lay out its weights, the norm's gain and bias among them."""
        gain, shift = _plain(head.norm)
        (output, output_bias), hidden = _plain(head.output), None
        if head.hidden is None:
            output, output_bias = output * gain, output_bias + output @ shift
        else:
            weight, bias = _plain(head.hidden)
            hidden, hidden_bias = _filled_up(weight * gain, bias + weight @ shift, PANEL)
            output = functional.pad(output, (0, -output.shape[1] % PANEL))
        output, output_bias = _filled_up(output, output_bias, _LOGITS)
        by_panels = output.view(-1, 1, _LOGITS, output.shape[1])
        rounded = by_panels.bfloat16()
        in_two = torch.cat([rounded, (by_panels - rounded.float()).bfloat16()], dim=1)
        tensors = [
            *((None, None, None) if hidden is None else (laid_out(hidden.bfloat16()), _totals(hidden.bfloat16()), hidden_bias)),
            *(laid_out(in_two.view(-1, output.shape[1])), _totals(in_two.transpose(1, 2).reshape(len(output), -1)), output_bias),
        ]
        self._memory, places = together(tensors, loaded)
        #: What the kernels take.
        self.struct = _Head(*places, 0 if hidden is None else len(hidden), head.config.num_logits, head.norm.eps)


def _plain(source: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return source.weight.detach().float(), source.bias.detach().float()


def _totals(weight: Tensor) -> Tensor:
    """Return what each output would take from numbers that are all one."""
    return weight.float().sum(1)


def _filled_up(weight: Tensor, bias: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return weights and biases with outputs up to a multiple of `step`: what is added is zeros, and says nothing."""
    missing = -len(bias) % step
    return functional.pad(weight, (0, 0, 0, missing)), functional.pad(bias, (0, missing))
