"""The backends of the encoder, behind one small interface, and the choice of the fastest on this machine.

compiled    on a CPU: the native engine, the whole encoder in kernels for this processor's instructions; without torch
            on a GPU: variable-length attention, and the whole pass captured as a CUDA graph for each of a few sizes
eager       plain PyTorch: the reference, for every device and number format
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from worker.batches import LIVE_PASS, PassContext
from worker.errors import BadModel
from worker.model.backends.compiled import compile_encoder
from worker.model.backends.native.build import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from worker.model.backends.measurement import Measured, Trial
    from worker.model.encoder.encoder_weights import EncoderWeights
    from worker.model.heads.readout import Readout
    from worker.model.text.packing import Packed

    Floats = NDArray[np.float32]

BackendName = Literal["auto", "eager", "compiled"]
Device = Literal["cpu", "cuda"]
#: Number formats and, on a CPU, integers.
Format = Literal["float32", "bfloat16", "float16", "int16", "int8"]


class Results(Protocol):
    """Results of a pass that are computed, or on their way from a device."""

    def wait(self) -> list[Floats]:
        """Wait until all have arrived, and return them."""


class Backend(Protocol):
    """A backend runs the encoder."""

    name: str
    #: Whether it may be called from several threads at a time, each with a number of threads of its own.
    is_reentrant: bool
    #: Whether its threads are its own, and not torch's.
    has_own_threads: bool
    #: The speed of each arithmetic, where the arithmetic was chosen by speed; else None.
    measured: Measured | None
    #: The lengths of texts of batches to run before readiness, in addition to a short and a long text.
    warm_lengths: Sequence[Sequence[int]]

    @property
    def device_type(self) -> str:
        """The kind of device: cpu or cuda."""

    @property
    def description(self) -> str:
        """The number format and what runs, for people."""

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts: what is more than their tokens is computed for nothing."""

    def begin(self, packed: Packed, readouts: Sequence[Readout], context: PassContext = LIVE_PASS) -> Results:
        """Begin a pass and return its results, fp32, in the order of `readouts`; yield as `context` says where it can."""


def choose(
    weights: EncoderWeights,
    wanted: BackendName,
    *,
    device: Device,
    dtype: Format,
    ranges: Mapping[str, Floats] | None = None,
    trial: Trial | None = None,
    threads: int = 0,
) -> tuple[Backend, str]:
    """Return a backend and the reason for the choice.

    `auto` takes the fastest backend that this machine can run. Raises `BadModel` for a backend requested by name that cannot run.
    `ranges` are those of `quantization.measure_ranges`. With a `trial` the native engine takes the fastest arithmetic that is exact
    enough on it, as measured on this machine; without, the arithmetic of `dtype`. `threads` are those of the native engine; 0 for
    one for each core.
    """
    passed_over: list[str] = []
    for name in ["compiled", "eager"] if wanted == "auto" else [wanted]:
        try:
            if name == "eager" or device == "cuda":
                # Only the kernels make a narrow format fast on a CPU: without them, an automatic choice is the exact format.
                is_fallback = device == "cpu" and trial is not None
                backend: Backend = _torch_backend(weights, name, device=device, dtype="float32" if is_fallback else dtype)
            else:
                backend = compile_encoder(weights, dtype, ranges=ranges, trial=trial, threads=threads)
        except BackendUnavailable as error:
            passed_over.append(f"{name} cannot run here: {error}")
        else:
            fastest = "; ".join(passed_over) or "the fastest here that is as exact as PyTorch"
            if backend.measured is not None:
                return backend, str(backend.measured)
            return backend, "as asked" if wanted != "auto" else fastest
    raise BadModel(f"the backend {'; '.join(passed_over)}")


def _torch_backend(weights: EncoderWeights, name: str, *, device: Device, dtype: Format) -> Backend:
    """Build a backend of PyTorch; raises `BackendUnavailable`."""
    if dtype in {"int16", "int8"}:
        raise BackendUnavailable(f"PyTorch has no products in {dtype} here")
    try:
        import torch  # noqa: PLC0415  heavy, and not installed on every machine

        from worker.model.encoder.encoder import build_encoder  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BackendUnavailable(f"{error.name} is not installed") from error
    place, form, encoder = torch.device(device), getattr(torch, dtype), build_encoder(weights)
    if name == "eager":
        from worker.model.backends.eager import Eager  # noqa: PLC0415

        return Eager(encoder, device=place, dtype=form)
    from worker.model.backends.cuda_graphs import CudaGraphs  # noqa: PLC0415

    return CudaGraphs(encoder, device=place, dtype=form)
