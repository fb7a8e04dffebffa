"""The encoder on a CPU with 8-bit matrix products: weights and what they are multiplied with are whole numbers of 8 bits.

What enters a product is cut into 255 steps. For three of a layer's four products the steps are fixed beforehand, by calibration: a
layer norm bounds what leaves it, and a channel that is larger than the others hands its size over to the weights (Xiao et al.,
"SmoothQuant", 2023). The fourth reads an activation, whose size differs from token to token: each token gets a step of its own. The
kernels that write a state write its bytes in the same pass, so that nothing is read twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from worker.model.backends.native.build import BackendUnavailable
from worker.model.backends.native.kernels import GELU_MINIMUM, Kernels, Norm
from worker.model.backends.onednn import Embeddings
from worker.model.cpu_features import multiplies_bytes
from worker.model.encoder import CALIBRATED, Layer
from worker.model.packing import padded
from worker.model.readout import ReadsLayers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from worker.model.encoder import Encoder
    from worker.model.packing import Packed
    from worker.ports import GiveWay

# How far a channel's size goes over to the weights, from 0 to 1, and how much beyond the calibrated texts is still in range. An
# attention's output has rare large numbers, which must not be cut; what leaves a layer norm is bounded.
SMOOTHING = {"query_key_value": 0.75, "output": 0.7, "expand": 0.75}
MARGIN = {"query_key_value": 1.1, "output": 1.3, "expand": 1.1}
_ZERO = 128
LARGEST = 127


class Product:
    """A matrix product of bytes: the input's are unsigned, the weights' signed, with one scale for each output."""

    def __init__(self, weight: Tensor, bias: Tensor | None, *, zero: int, dtype: torch.dtype) -> None:
        """Quantize `weight` (fp32, `[outputs, inputs]`); the input's byte `zero` means 0."""
        self.scale = (weight.abs().amax(1) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
        whole = torch.round(weight / self.scale[:, None]).to(torch.int8)
        #: What an input of ones gives, fp32, `[outputs]`.
        self.sums = whole.float().sum(1) * self.scale
        self._packed = torch.ops.onednn.qlinear_prepack(whole, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = bias
        self._zero = zero
        self._dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        """uint8 [T, inputs] → [T, outputs] in the format of the states."""
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(x, 1.0, self._zero, self._packed, self.scale, self._zeros, self._bias, 1.0, 0, self._dtype, "none", [], "")
        )
        return product


class Calibrated:
    """A linear map whose input was calibrated; `scale` is what the input's channels are multiplied with to become bytes."""

    def __init__(self, source: nn.Linear, range_of: Tensor, kind: str, dtype: torch.dtype) -> None:
        """Divide the work between input and weights; `range_of` is the largest size of each input channel, fp32, `[inputs]`."""
        weight, bias = source.weight.detach().float(), source.bias.detach().float()
        largest, share = range_of.clamp(min=1e-5), SMOOTHING[kind]
        factor = largest**share / weight.abs().amax(0).clamp(min=1e-5) ** (1 - share)
        step = (largest / factor).max() * MARGIN[kind] / LARGEST
        self.scale = (1 / (factor * step)).contiguous()
        self.product = Product(weight / self.scale, bias, zero=_ZERO, dtype=dtype)


class OneDnnInt8Layer:
    """One layer of the encoder. Its input comes twice: as a state, and as bytes for the first product."""

    def __init__(self, source: Layer, ranges: Mapping[str, Tensor], kernels: Kernels, dtype: torch.dtype) -> None:
        """Quantize the weights of `source`."""
        self._kernels = kernels
        self._num_heads = source.attention.num_heads
        self.query_key_value = Calibrated(source.attention.query_key_value, ranges["query_key_value"], "query_key_value", dtype)
        self._output = Calibrated(source.attention.output, ranges["output"], "output", dtype)
        self._attention_norm = Norm(source.attention_norm)
        self._expand = Calibrated(source.expand, ranges["expand"], "expand", dtype)
        self._contract = Product(source.contract.weight.detach().float(), None, zero=0, dtype=dtype)
        # The bytes of an activation count from its minimum, and what that adds to every sum is the same.
        self._shift = source.contract.bias.detach().float() + self._contract.sums * GELU_MINIMUM
        self._feed_forward_norm = Norm(source.feed_forward_norm)

    def __call__(self, x: Tensor, x_bytes: Tensor, cu_seqlens: Tensor, next_scale: Tensor) -> tuple[Tensor, Tensor]:
        """[T, H] and its bytes → the same after this layer; `next_scale` makes the bytes of the next one."""
        projected = self.query_key_value.product(x_bytes)
        attended = self._kernels.attend(projected, cu_seqlens, self._num_heads, self._output.scale)
        x, x_bytes = self._kernels.add_norm_quantize(self._output.product(attended), x, self._attention_norm, self._expand.scale)
        activated, steps = self._kernels.gelu_quantize(self._expand.product(x_bytes))
        return self._kernels.add_norm_quantize(
            self._contract(activated), x, self._feed_forward_norm, next_scale, token_scale=steps, shift=self._shift
        )


class OneDnnInt8(ReadsLayers):
    """An encoder with 8-bit matrix products on a CPU; its states are fp32 or bf16."""

    name = "int8"
    is_reentrant = True
    device = torch.device("cpu")

    def __init__(self, encoder: Encoder, *, dtype: torch.dtype, ranges: Mapping[str, Tensor] | None) -> None:
        """Quantize the weights of `encoder`; `ranges` are those of `calibration.ranges_of`. Raises `BackendUnavailable`."""
        if ranges is None:
            raise BackendUnavailable("the model is not calibrated for it: `gist-stream quantize` does that, with your texts")
        if encoder.config.hidden_act != "gelu":
            raise BackendUnavailable(f"its activation is GELU, not {encoder.config.hidden_act}")
        if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
            raise BackendUnavailable("this build of torch has no 8-bit matrix products for this processor")
        if not multiplies_bytes():
            raise BackendUnavailable("this processor cannot add up products of bytes exactly (it has neither VNNI nor AMX)")
        self.dtype = dtype
        Kernels.check_shape(encoder.config)
        kernels = Kernels(dtype)
        self._embeddings = Embeddings(encoder, kernels, dtype)
        layers = [layer for layer in encoder.layers if isinstance(layer, Layer)]
        own = [{kind: ranges[f"{number}.{kind}"] for kind in CALIBRATED} for number in range(len(layers))]
        self._layers = [OneDnnInt8Layer(layer, its, kernels, dtype) for layer, its in zip(layers, own, strict=True)]
        # Nobody multiplies the bytes of the last state.
        self._scales = [layer.query_key_value.scale for layer in self._layers]
        self._scales.append(torch.ones_like(self._scales[0]))

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return padded(len(packed.ids))

    def encode(self, packed: Packed, layers: Collection[int], give_way: GiveWay | None = None) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        cu_seqlens = torch.from_numpy(packed.cu_seqlens)
        x = self._embeddings(packed)
        x_bytes = (x.float() * self._scales[0] + _ZERO).round_().clamp_(0, 2 * _ZERO - 1).to(torch.uint8)
        states = [x]
        for layer, next_scale in zip(self._layers[: max(layers)], self._scales[1:], strict=False):
            if give_way is not None:
                give_way()
            x, x_bytes = layer(x, x_bytes, cu_seqlens, next_scale)
            states.append(x)
        return {number: states[number][: len(packed.ids)] for number in layers}
