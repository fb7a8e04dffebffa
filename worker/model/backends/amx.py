"""The encoder on the tile registers of a processor that has them (AMX), whole in one call, in bf16 or with 8-bit products.

A batch is divided into groups of texts, each as large as the second-level cache of a core can hold on its way through the layers.
A thread takes a group through the whole encoder: it reads the weights, and nothing else travels. Between two products stands what
`native/tiled_encoder.h` does in passing: biases, GELU, norms, attention, and for 8 bits the scales.

With 8 bits a row of the state has a step of its own, so that its largest number is the last byte; how the channels of a row share
the range is calibrated (Xiao et al., "SmoothQuant", 2023).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from worker.model.backends.amx_layout import PANEL, STEP_BYTES, array, laid_out, together
from worker.model.backends.amx_readouts import AmxReadouts
from worker.model.backends.native.build import BackendUnavailable, library
from worker.model.backends.native.kernels import check_threads
from worker.model.backends.onednn_int8 import LARGEST, MARGIN, SMOOTHING
from worker.model.encoder import Layer
from worker.model.packing import groups
from worker.model.readout import Readout

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import nn

    from worker.model.encoder import Encoder, EncoderConfig
    from worker.model.packing import Packed
    from worker.ports import GiveWay

# The tokens of a group, in bf16 and with 8 bits: what passes between its products stays within two megabytes.
_GROUP_TOKENS, _GROUP_TOKENS_IN_BYTES = 384, 256
# The smallest GELU that the kernels give.
_LEAST_GELU = -0.1703
_HEAD_WIDTHS = (32, 64)
_LARGEST_HIDDEN = 4096
# What `native/profile.h` counts.
_STAGES = ("products", "attention", "norms", "heads", "rest")
# Channels of the heads that are computed together.
_PART = 128


class AmxBackend:
    """An encoder on a CPU with tile registers; its states are bf16."""

    is_reentrant = True
    warm_lengths: Sequence[Sequence[int]] = ()
    device = torch.device("cpu")
    dtype = torch.bfloat16

    def __init__(self, encoder: Encoder, *, ranges: Mapping[str, Tensor] | None = None, is_profiled: bool = False) -> None:
        """Lay out the weights of `encoder`; with `ranges` (of `calibration.ranges_of`) as bytes. Raises `BackendUnavailable`.

        Where `is_profiled`, the kernels count their time, for `spent`.
        """
        self.name = "compiled" if ranges is None else "int8"
        self._group_tokens = _GROUP_TOKENS if ranges is None else _GROUP_TOKENS_IN_BYTES
        self._config = encoder.config
        check_shape(encoder.config)
        self._library = library(is_profiled=is_profiled)
        if not self._library.gist_has_tiles():
            raise BackendUnavailable("the processor, the kernel or the compiler has no tile registers (AMX)")
        check_threads(self._library)
        layers = [layer for layer in encoder.layers if isinstance(layer, Layer)]
        tables = [encoder.words.weight, encoder.positions.weight + encoder.types.weight[0]]
        parameters = [
            it
            for number, layer in enumerate(layers)
            for it in (_parameters(layer) if ranges is None else _parameters_in_bytes(layer, _of_layer(ranges, number)))
        ]
        norm = [encoder.norm.weight.detach().float(), encoder.norm.bias.detach().float()]
        # Everything in one place, which the kernels only read.
        self._memory, pointers = together([*(it.detach().bfloat16() for it in tables), *norm, *parameters], self._library)
        self._tables, self._parameters = array(pointers[:4]), array(pointers[4:])
        # What was ever read, as the kernels take it.
        self._known: dict[tuple[Readout, ...], AmxReadouts] = {}

    def encode(self, packed: Packed, layers: Collection[int]) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        return dict(zip(layers, self.read(packed, [Readout(((it, 1.0),), None) for it in layers]), strict=True))

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        order, bounds = groups(packed.lengths, max_tokens=self._group_tokens, num_threads=torch.get_num_threads())
        tokens = np.add.reduceat(packed.lengths[order], bounds[:-1])
        return int((-(-tokens // PANEL) * PANEL).sum())

    def read(self, packed: Packed, readings: Sequence[Readout], give_way: GiveWay | None = None) -> list[Tensor]:
        """Return what each of `readings` says, gathered while a group is at hand."""
        self._check_tables(packed)
        shape, asked, num_threads = self._config, self._asked(tuple(readings)), torch.get_num_threads()
        structs, found = asked.room(packed)
        order, bounds = groups(packed.lengths, max_tokens=self._group_tokens, num_threads=num_threads)
        num_groups = len(bounds) - 1
        # Whoever gives way stops after a group of each thread.
        step = num_groups if give_way is None else num_threads
        for first in range(0, num_groups, step):
            if give_way is not None:
                give_way()
            texts = array([it.ctypes.data for it in (packed.ids, packed.cu_seqlens, order, bounds[first:])])
            code = self._library.gist_encode(
                *(texts, ctypes.c_int64(min(step, num_groups - first)), self._tables, self._parameters),
                *(structs, len(structs)),
                *(shape.hidden_size, shape.intermediate_size, shape.num_attention_heads, asked.num_layers),
                *(ctypes.c_float(shape.layer_norm_eps), int(self.name == "int8"), num_threads),
            )
            if code:
                raise MemoryError("there is no memory left for the encoder")
        return found

    def spent(self) -> dict[str, float]:
        """Return the seconds of all threads since the last call, by what they went into; only where it is profiled."""
        seconds = (ctypes.c_double * len(_STAGES))()
        self._library.gist_profile(seconds)
        return dict(zip(_STAGES, seconds, strict=True))

    def _asked(self, readings: tuple[Readout, ...]) -> AmxReadouts:
        """Return readings as the kernels take them; worked out once."""
        if readings not in self._known:
            self._known[readings] = AmxReadouts(readings, self._config.hidden_size, self._library)
        return self._known[readings]

    def _check_tables(self, packed: Packed) -> None:
        """Raise `IndexError` for what the tables do not hold: the kernels would read past their ends."""
        if not 0 <= packed.ids.min() <= packed.ids.max() < self._config.vocab_size:
            raise IndexError(f"a token is none of the {self._config.vocab_size} that the encoder knows")
        if packed.lengths.max() > self._config.max_position_embeddings:
            raise IndexError(
                f"a text has {packed.lengths.max()} tokens, and the encoder {self._config.max_position_embeddings} places"
            )


def check_shape(config: EncoderConfig) -> None:
    """Raise `BackendUnavailable` for an encoder whose shape or activation the tiles do not fit."""
    width = config.hidden_size // config.num_attention_heads
    if config.hidden_act != "gelu":
        raise BackendUnavailable(f"the activation on tiles is GELU, not {config.hidden_act}")
    if width not in _HEAD_WIDTHS or config.hidden_size > _LARGEST_HIDDEN or config.hidden_size % STEP_BYTES:
        raise BackendUnavailable(f"{config.num_attention_heads} heads of {width} numbers do not fit the tiles")
    if config.intermediate_size % STEP_BYTES:
        raise BackendUnavailable(f"a feed-forward of {config.intermediate_size} numbers does not fit the tiles")


def _by_parts(layer: Layer) -> tuple[Tensor, Tensor]:
    """Return weights and biases of query, key and value, those of some heads together: `[parts, 3, heads of a part]`."""
    mix, num_heads = layer.attention.query_key_value, layer.attention.num_heads
    width = mix.in_features // num_heads
    heads = next(it for it in range(max(1, _PART // width), 0, -1) if num_heads % it == 0)
    order = torch.arange(mix.out_features).view(3, num_heads // heads, heads * width).transpose(0, 1).reshape(-1)
    return mix.weight.detach()[order].float(), mix.bias.detach()[order].float()


def _plain(source: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return source.weight.detach().float(), source.bias.detach().float()


def _parameters(layer: Layer) -> list[Tensor | None]:
    """Return the parameters in the order of the kernels' `Parameter`."""
    mix, output, expand, contract = _by_parts(layer), *map(_plain, (layer.attention.output, layer.expand, layer.contract))

    def tiles(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return laid_out(pair[0].bfloat16()), pair[1]

    first, second = _plain(layer.attention_norm), _plain(layer.feed_forward_norm)
    return [*tiles(mix), *tiles(output), *first, *tiles(expand), *tiles(contract), *second, *[None] * 7]


def _parameters_in_bytes(layer: Layer, ranges: Mapping[str, Tensor]) -> list[Tensor | None]:
    """Return the parameters in the order of the kernels' `Parameter`, weights as bytes."""
    mix, mix_in = _smoothed(_by_parts(layer), ranges, "query_key_value")
    output, output_in = _smoothed(_plain(layer.attention.output), ranges, "output")
    # What attention gives is cut at a fixed place, since no thread sees a whole row of it.
    largest = (ranges["output"].clamp(min=1e-5) * output_in).max() * MARGIN["output"] / LARGEST
    output, output_in = (output[0] * largest, output[1]), output_in / largest
    expand, expand_in = _smoothed(_plain(layer.expand), ranges, "expand")
    (mix_w, mix_out), (output_w, output_out), (expand_w, expand_out) = (_in_bytes(it[0]) for it in (mix, output, expand))
    contract_w, contract_out = _in_bytes(layer.contract.weight.detach().float())
    # The bytes of an activation count from its minimum, and what that adds to every sum is the same.
    shift = layer.contract.bias.detach().float() + contract_w.float().sum(1) * contract_out * _LEAST_GELU
    first, second = _plain(layer.attention_norm), _plain(layer.feed_forward_norm)
    weights = [laid_out(it) for it in (mix_w, output_w, expand_w, contract_w)]
    return [
        *(weights[0], mix[1], weights[1], output[1], *first, weights[2], expand[1], weights[3], shift, *second),
        *(mix_in, output_in, expand_in, mix_out, output_out, expand_out, contract_out),
    ]


def _smoothed(pair: tuple[Tensor, Tensor], ranges: Mapping[str, Tensor], kind: str) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Hand the size of large input channels over to the weights; return these, and what the channels are multiplied with."""
    weight, share = pair[0], SMOOTHING[kind]
    scale = weight.abs().amax(0).clamp(min=1e-5) ** (1 - share) / ranges[kind].clamp(min=1e-5) ** share
    return (weight / scale, pair[1]), scale


def _in_bytes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights as int8, and for each output what a sum of bytes is multiplied with, fp32."""
    scale = (weight.abs().amax(1) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.round(weight / scale[:, None]).to(torch.int8), scale


def _of_layer(ranges: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    prefix = f"{number}."
    return {name.removeprefix(prefix): it for name, it in ranges.items() if name.startswith(prefix)}
