"""The ways to run the encoder, behind one small interface, and the choice of the fastest that this machine offers.

eager       plain PyTorch: the reference, for every device and number format
compiled    on a CPU: the native engine, the whole encoder in kernels that are compiled for this processor's instructions
            on a GPU: variable-length attention, and the whole pass captured as a CUDA graph for each of a few sizes
int8        on a CPU: the same with 8-bit matrix products, for a checkpoint that was calibrated (`gist-stream quantize`)
openvino    on a CPU, where it is installed: Intel's runtime, which needs no compiler
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from worker.batches import LIVE_PASS, PassContext
from worker.errors import BadModel
from worker.model.backends.native.build import BackendUnavailable
from worker.model.encoder import PackedTensors
from worker.model.readout import ReadsLayers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import torch
    from torch import Tensor

    from worker.model.backends.measurement import Trial
    from worker.model.encoder import Encoder
    from worker.model.packing import Packed
    from worker.model.readout import Readout

BackendName = Literal["auto", "eager", "compiled", "openvino", "int8"]
# The ways that are as exact as PyTorch and faster, the fastest first; PyTorch itself is there always.
_AS_EXACT: Mapping[str, list[BackendName]] = {"cpu": ["compiled", "openvino"], "cuda": ["compiled"]}


class Backend(Protocol):
    """One way to run an encoder."""

    name: str
    #: Whether it may be called from several threads at a time, each with a number of threads of its own.
    is_reentrant: bool
    #: Whether its threads are its own, and not torch's.
    has_own_threads: bool
    #: Why it computes as it does, where that was measured; else empty.
    reason: str
    #: Where the states are.
    device: torch.device
    #: The format of the states.
    dtype: torch.dtype
    #: The lengths of texts of batches to run before readiness, beside a short and a long text.
    warm_lengths: Sequence[Sequence[int]]

    @property
    def description(self) -> str:
        """The number format and what runs, for people."""

    def encode(self, packed: Packed, layers: Collection[int]) -> dict[int, Tensor]:
        """Return the states `[T, H]` after each of `layers`; 0 is the embeddings."""

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts: what is more than their tokens is computed for nothing."""

    def read(self, packed: Packed, readings: Sequence[Readout], context: PassContext = LIVE_PASS) -> list[Tensor]:
        """Return what each of `readings` says, as `Readout.of` does; yield as `context` says, if the backend can."""


class Eager(ReadsLayers):
    """Plain PyTorch."""

    name = "eager"

    def __init__(self, encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> None:
        """Move `encoder` to its device and number format."""
        self.device = device
        self.dtype = dtype
        self.is_reentrant = device.type == "cpu"
        self._encoder = encoder.to(device, dtype)

    def encode(self, packed: Packed, layers: Collection[int], context: PassContext = LIVE_PASS) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        states: dict[int, Tensor] = self._encoder(
            PackedTensors.of(packed, device=self.device, dtype=self.dtype), layers, context=context
        )
        return states


def choose(
    encoder: Encoder,
    wanted: BackendName,
    *,
    device: torch.device,
    dtype: torch.dtype,
    ranges: Mapping[str, Tensor] | None = None,
    trial: Trial | None = None,
) -> tuple[Backend, str]:
    """Return a way to run `encoder` and the reason.

    `auto` takes the fastest that is there and falls back without failing; a way that was asked for by name and is not there is
    a `BadModel`. `ranges` are those of `quantization.measure_ranges`. With a `trial` the native engine takes the fastest arithmetic
    that is exact enough on it, as measured on this machine; without, the arithmetic of `dtype`.
    """
    passed_over: list[str] = []
    for name in _AS_EXACT[device.type] if wanted == "auto" else [wanted]:
        try:
            backend = _backend(encoder, name, device=device, dtype=dtype, ranges=ranges, trial=trial)
        except BackendUnavailable as error:
            if wanted != "auto":
                raise BadModel(f"the backend {name} cannot run here: {error}") from error
            passed_over.append(f"{name} cannot run here: {error}")
        else:
            fastest = "; ".join(passed_over) or "the fastest here that is as exact as PyTorch"
            return backend, backend.reason or ("as asked" if wanted != "auto" else fastest)
    return Eager(encoder, device=device, dtype=dtype), "; ".join(passed_over)


def _backend(
    encoder: Encoder,
    name: BackendName,
    *,
    device: torch.device,
    dtype: torch.dtype,
    ranges: Mapping[str, Tensor] | None,
    trial: Trial | None,
) -> Backend:
    """Build one of them; raises `BackendUnavailable`."""
    if name == "eager":
        return Eager(encoder, device=device, dtype=dtype)
    if device.type == "cuda":
        if name != "compiled":
            raise BackendUnavailable("it is for CPUs")
        from worker.model.backends.cuda_graphs import CudaGraphs  # noqa: PLC0415  for GPUs only

        return CudaGraphs(encoder, device=device, dtype=dtype)
    if name == "openvino":
        from worker.model.backends.openvino import OpenVino  # noqa: PLC0415  heavy, and needed only where nothing faster is there

        return OpenVino(encoder, dtype=dtype)
    from worker.model.backends.compiled import compile_for  # noqa: PLC0415  for CPUs only

    return compile_for(encoder, dtype, is_8_bit=name == "int8", ranges=ranges, trial=trial)
