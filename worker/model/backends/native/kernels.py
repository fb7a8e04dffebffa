"""The compiled kernels as functions of tensors.

Numbers in memory are fp32 or bf16, contiguous, on the CPU; sums are fp32. The threads are torch's own, as many as it has at the
moment of the call.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_int64, c_void_p
from typing import TYPE_CHECKING, Any

import torch

from worker.model.backends.native.build import BackendUnavailable, library

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from worker.model.encoder import EncoderConfig

#: What the bytes of `Kernels.gelu_quantize` count from.
GELU_MINIMUM = -0.17
# What is compiled: the widths of an attention head, the numbers taken at a time, and the rows that fit.
_HEAD_WIDTHS = (32, 64)
_LANES = 16
_LARGEST_HIDDEN, _LARGEST_INTERMEDIATE = 4096, 16_384
_SUFFIXES = {torch.float32: "f32", torch.bfloat16: "bf16"}


class Kernels:
    """What the products leave over, for one number format."""

    def __init__(self, dtype: torch.dtype) -> None:
        """Load them, compiled first if need be; raises `BackendUnavailable`."""
        if dtype not in _SUFFIXES:
            raise BackendUnavailable(f"the compiled kernels know {' and '.join(map(str, _SUFFIXES))}, not {dtype}")
        self._loaded = library()
        self._suffix = _SUFFIXES[dtype]
        check_threads(self._loaded)
        shape = [c_int64, c_int, c_int, c_int]
        self._attend = self._function("attend", c_int, [c_void_p] * 3 + shape)
        self._attend_quantize = self._function("attend_quantize", c_int, [c_void_p] * 3 + [*shape, c_void_p])
        self._add_norm = self._function("add_norm", None, [c_void_p] * 9 + [c_int64, c_int, c_float, c_int])
        self._activate = self._function("activate", None, [c_void_p] * 3 + [c_int64, c_int, c_int])

    @staticmethod
    def check_shape(config: EncoderConfig) -> None:
        """Raise `BackendUnavailable` for an encoder whose shape is not compiled."""
        width = config.hidden_size // config.num_attention_heads
        if width not in _HEAD_WIDTHS or config.hidden_size > _LARGEST_HIDDEN:
            raise BackendUnavailable(
                f"the kernels are compiled for heads of {' or '.join(map(str, _HEAD_WIDTHS))} numbers, not {width}"
            )
        if config.intermediate_size % _LANES or config.intermediate_size > _LARGEST_INTERMEDIATE:
            raise BackendUnavailable(f"the kernels are not compiled for a feed-forward of {config.intermediate_size} numbers")

    def attend(self, query_key_value: Tensor, cu_seqlens: Tensor, num_heads: int, scale: Tensor | None = None) -> Tensor:
        """[T, 3H] → [T, H]: each token attends to its own text, whose tokens lie from `cu_seqlens[i]` to `cu_seqlens[i + 1]`.

        `cu_seqlens` is int64, `[n + 1]`. Rows past the last text are zeros. With a `scale` (fp32, `[H]`) the result is multiplied
        by it, rounded, plus 128, as uint8.
        """
        num_tokens, width = query_key_value.shape[0], query_key_value.shape[1] // 3
        out = query_key_value.new_empty(num_tokens, width, dtype=query_key_value.dtype if scale is None else torch.uint8)
        out[int(cu_seqlens[-1]) :].zero_()
        arguments = [it.data_ptr() for it in (query_key_value, out, cu_seqlens)]
        shape = [len(cu_seqlens) - 1, num_heads, width // num_heads, torch.get_num_threads()]
        code = self._attend(*arguments, *shape) if scale is None else self._attend_quantize(*arguments, *shape, scale.data_ptr())
        if code:
            raise MemoryError("there is no memory left for the attention")
        return out

    def add_norm(self, x: Tensor, y: Tensor, norm: Norm) -> Tensor:
        """Return the layer norm of `x + y`, both `[T, H]`."""
        out = torch.empty_like(x)
        self._call_add_norm(x, y, None, None, norm, out, None, None)
        return out

    def add_norm_quantize(
        self, x: Tensor, y: Tensor, norm: Norm, scale: Tensor, *, token_scale: Tensor | None = None, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the layer norm of `x * token_scale + shift + y`, and the same times `scale`, rounded, plus 128, as uint8.

        `token_scale` is fp32, `[T]`; `shift` and `scale` are fp32, `[H]`.
        """
        out, quantized = torch.empty_like(x), torch.empty(x.shape, dtype=torch.uint8)
        self._call_add_norm(x, y, token_scale, shift, norm, out, quantized, scale)
        return out, quantized

    def gelu_quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return GELU of `x` (`[T, F]`) as uint8, 0 being `GELU_MINIMUM`, and the step of each token, fp32, `[T]`."""
        quantized, steps = torch.empty(x.shape, dtype=torch.uint8), torch.empty(len(x))
        self._activate(*(it.data_ptr() for it in (x, quantized, steps)), *x.shape, torch.get_num_threads())
        return quantized, steps

    def _call_add_norm(
        self,
        x: Tensor,
        y: Tensor,
        token_scale: Tensor | None,
        shift: Tensor | None,
        norm: Norm,
        out: Tensor,
        quantized: Tensor | None,
        scale: Tensor | None,
    ) -> None:
        tensors = (x, y, token_scale, shift, norm.gain, norm.bias, out, quantized, scale)
        pointers = [None if it is None else it.data_ptr() for it in tensors]
        self._add_norm(*pointers, *x.shape, norm.epsilon, torch.get_num_threads())

    def _function(self, name: str, result: type | None, arguments: list[Any]) -> Callable[..., int]:
        function = self._loaded[f"gist_{name}_{self._suffix}"]
        function.restype, function.argtypes = result, arguments
        return function


class Norm:
    """The parameters of a layer norm, as the kernels want them."""

    def __init__(self, source: nn.LayerNorm) -> None:
        """Copy those of `source`."""
        # fp32, `[H]`.
        self.gain, self.bias = source.weight.detach().float().contiguous(), source.bias.detach().float().contiguous()
        self.epsilon = source.eps


def check_threads(loaded: ctypes.CDLL) -> None:
    """Refuse a library with threads of its own: two pools on the same cores are many times slower than one."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(num_threads + 1)
    try:
        if loaded.gist_num_threads() != num_threads + 1:
            raise BackendUnavailable("the compiled kernels and torch would each have threads of their own (two OpenMP libraries)")
    finally:
        torch.set_num_threads(num_threads)
