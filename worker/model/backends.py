"""The ways to run the encoder, behind one small interface, and the choice of the fastest that this machine offers.

eager       plain PyTorch: the reference, for every device and number format
compiled    on a CPU: the whole encoder on tile registers (AMX), in kernels compiled for this processor; on a processor without
            them, matrix products with weights laid out once (oneDNN), and kernels for the rest
            on a GPU: variable-length attention, and the whole pass captured as a CUDA graph for each of a few sizes
int8        on a CPU: the same with 8-bit matrix products, for a checkpoint that was calibrated (`gist-stream quantize`)
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, Protocol

from worker.errors import BadModel
from worker.model.encoder import PackedTensors
from worker.model.native.build import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import torch
    from torch import Tensor

    from worker.model.encoder import Encoder
    from worker.model.packing import Packed

BackendName = Literal["auto", "eager", "compiled", "int8"]


class Backend(Protocol):
    """One way to run an encoder. `encode` is called from one thread at a time."""

    name: str
    #: Where the states are.
    device: torch.device
    #: The format of the states.
    dtype: torch.dtype

    def encode(self, packed: Packed, layers: Collection[int]) -> dict[int, Tensor]:
        """Return the states `[T, H]` after each of `layers`; 0 is the embeddings."""


class Eager:
    """Plain PyTorch."""

    name = "eager"

    def __init__(self, encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> None:
        """Move `encoder` to its device and number format."""
        self.device = device
        self.dtype = dtype
        self._encoder = encoder.to(device, dtype)

    def encode(self, packed: Packed, layers: Collection[int]) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        states: dict[int, Tensor] = self._encoder(PackedTensors.of(packed, device=self.device, dtype=self.dtype), layers)
        return states


def choose(
    encoder: Encoder, wanted: BackendName, *, device: torch.device, dtype: torch.dtype, ranges: Mapping[str, Tensor] | None = None
) -> tuple[Backend, str]:
    """Return a way to run `encoder` and why this one.

    `auto` takes the fastest that is there and falls back without failing; a way that was asked for by name and is not there is
    a `BadModel`. `ranges` are those of `calibration.ranges_of`.
    """
    if wanted == "eager":
        return Eager(encoder, device=device, dtype=dtype), "as asked"
    try:
        backend = _faster(encoder, wanted, device=device, dtype=dtype, ranges=ranges)()
    except Unavailable as error:
        if wanted != "auto":
            raise BadModel(f"the backend {wanted} cannot run here: {error}") from error
        return Eager(encoder, device=device, dtype=dtype), f"the compiled one cannot run here: {error}"
    return backend, "as asked" if wanted != "auto" else "the fastest here that is as exact as PyTorch"


def _faster(
    encoder: Encoder, wanted: BackendName, *, device: torch.device, dtype: torch.dtype, ranges: Mapping[str, Tensor] | None
) -> Callable[[], Backend]:
    if device.type == "cuda":
        if wanted == "int8":
            raise Unavailable("8-bit products are for CPUs")
        from worker.model.captured import Captured  # noqa: PLC0415  for GPUs only

        return lambda: Captured(encoder, device=device, dtype=dtype)
    return lambda: _compiled(encoder, dtype, is_8_bit=wanted == "int8", ranges=ranges)


def _compiled(encoder: Encoder, dtype: torch.dtype, *, is_8_bit: bool, ranges: Mapping[str, Tensor] | None) -> Backend:
    """Return the fastest compiled way on a CPU: on tile registers where the processor has them, else by the products of oneDNN."""
    from worker.model.compiled import Compiled  # noqa: PLC0415  for CPUs only
    from worker.model.quantized import Quantized  # noqa: PLC0415  the same
    from worker.model.tiled import Tiled  # noqa: PLC0415  the same

    if dtype == Tiled.dtype and not (is_8_bit and ranges is None):
        with contextlib.suppress(Unavailable):
            return Tiled(encoder, ranges=ranges if is_8_bit else None)
    return Quantized(encoder, dtype=dtype, ranges=ranges) if is_8_bit else Compiled(encoder, dtype=dtype)
