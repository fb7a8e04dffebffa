"""The encoder on a CPU, close to the hardware: the same arithmetic as `encoder`, over weights that are laid out once.

The matrix products are oneDNN's, with weights reordered for them and the activation fused into the product before its result leaves
the registers. Between the products stand two kernels of ours: attention within each text, and add-and-normalise. Nothing else runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from worker.model.backends.native.build import BackendUnavailable
from worker.model.backends.native.kernels import Kernels, Norm
from worker.model.cpu_features import has_bf16_products
from worker.model.encoder import Layer
from worker.model.packing import padded
from worker.model.readout import ReadsLayers

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

    from worker.model.encoder import Encoder
    from worker.model.packing import Packed
    from worker.ports import GiveWay

# What oneDNN calls our activations: the operation fused after a product, and its variant.
ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


class Linear:
    """A linear map whose weights are laid out for oneDNN, with an activation fused into it."""

    def __init__(self, source: nn.Linear, dtype: torch.dtype, activation: tuple[str, str] = ("none", "")) -> None:
        """Copy the weights of `source`."""
        self._weight = torch.ops.mkldnn._reorder_linear_weight(source.weight.detach().to(dtype).contiguous(), None)  # noqa: SLF001
        self._bias = source.bias.detach().to(dtype)
        self._activation, self._variant = activation

    def __call__(self, x: Tensor) -> Tensor:
        """[T, inputs] → [T, outputs]."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001  the operation that torch's own compiler emits
            x, self._weight, self._bias, self._activation, [], self._variant
        )
        return product


class OneDnnLayer:
    """One layer of the encoder."""

    def __init__(self, source: Layer, kernels: Kernels, dtype: torch.dtype, activation: tuple[str, str]) -> None:
        """Copy the weights of `source`."""
        self._kernels = kernels
        self._num_heads = source.attention.num_heads
        self._query_key_value = Linear(source.attention.query_key_value, dtype)
        self._output = Linear(source.attention.output, dtype)
        self._attention_norm = Norm(source.attention_norm)
        self._expand = Linear(source.expand, dtype, activation)
        self._contract = Linear(source.contract, dtype)
        self._feed_forward_norm = Norm(source.feed_forward_norm)

    def __call__(self, x: Tensor, cu_seqlens: Tensor) -> Tensor:
        """[T, H] → [T, H]."""
        attended = self._kernels.attend(self._query_key_value(x), cu_seqlens, self._num_heads)
        x = self._kernels.add_norm(self._output(attended), x, self._attention_norm)
        return self._kernels.add_norm(self._contract(self._expand(x)), x, self._feed_forward_norm)


class Embeddings:
    """What the first layer reads: word and place, added and normalised."""

    def __init__(self, source: Encoder, kernels: Kernels, dtype: torch.dtype) -> None:
        """Copy the tables of `source`; a single text is a sentence of type 0, so that is added to the places once."""
        self._kernels = kernels
        self._words = source.words.weight.detach().to(dtype)
        self._places = (source.positions.weight + source.types.weight[0]).detach().to(dtype)
        self._norm = Norm(source.norm)

    def __call__(self, packed: Packed) -> Tensor:
        """Return `[T', H]`, with `T'` rows as `packing.padded` says: those past the texts mean nothing."""
        rest = (0, padded(len(packed.ids)) - len(packed.ids))
        ids, positions = (functional.pad(torch.from_numpy(it), rest) for it in (packed.ids, packed.positions))
        words, places = functional.embedding(ids, self._words), functional.embedding(positions, self._places)
        return self._kernels.add_norm(words, places, self._norm)


class OneDnn(ReadsLayers):
    """An encoder in fp32 or bf16 on a CPU."""

    name = "compiled"
    is_reentrant = True
    device = torch.device("cpu")

    def __init__(self, encoder: Encoder, *, dtype: torch.dtype) -> None:
        """Copy the weights of `encoder`; raises `BackendUnavailable` where this machine or its shape does not allow it."""
        self.dtype = dtype
        check_products(dtype)
        Kernels.check_shape(encoder.config)
        kernels, activation = Kernels(dtype), ACTIVATIONS[encoder.config.hidden_act]
        self._embeddings = Embeddings(encoder, kernels, dtype)
        self._layers = [OneDnnLayer(layer, kernels, dtype, activation) for layer in encoder.layers if isinstance(layer, Layer)]

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return padded(len(packed.ids))

    def encode(self, packed: Packed, layers: Collection[int], give_way: GiveWay | None = None) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        cu_seqlens = torch.from_numpy(packed.cu_seqlens)
        x = self._embeddings(packed)
        states = [x]
        for layer in self._layers[: max(layers)]:
            if give_way is not None:
                give_way()
            x = layer(x, cu_seqlens)
            states.append(x)
        return {number: states[number][: len(packed.ids)] for number in layers}


def check_products(dtype: torch.dtype) -> None:
    """Raise `BackendUnavailable` where this build of torch, or this processor, lacks the matrix products of a number format."""
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch's own
    if not (has_onednn and hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        raise BackendUnavailable("this build of torch has no oneDNN")
    if dtype == torch.bfloat16 and not has_bf16_products():
        raise BackendUnavailable("oneDNN has no products in bfloat16 on this processor")
