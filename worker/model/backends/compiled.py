"""The native engine as a backend of tensors: on a CPU, in the fastest arithmetic of a number format that the processor has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from worker.batches import LIVE_PASS, PassContext
from worker.model.backends.arithmetics import BFLOAT16_TILES, FLOAT32, INT8, INT8_TILES, INT16, Arithmetic
from worker.model.backends.measurement import find_arithmetic, measure_once
from worker.model.backends.native import build
from worker.model.backends.native_encoder import NativeEncoder
from worker.model.readout import Readout

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

    from worker.model.backends.measurement import Trial
    from worker.model.backends.native.build import Variant
    from worker.model.encoder import Encoder
    from worker.model.packing import Packed

# The arithmetics of each number format, or a more exact one, the fastest first.
_ARITHMETICS: Mapping[torch.dtype, tuple[Arithmetic, ...]] = {
    torch.float32: (FLOAT32,),
    torch.bfloat16: (BFLOAT16_TILES, INT16, FLOAT32),
}
_IN_BYTES = (INT8_TILES, INT8)


class Compiled:
    """An encoder in the native engine; its results are fp32."""

    is_reentrant = True
    has_own_threads = True
    warm_lengths: Sequence[Sequence[int]] = ()
    device = torch.device("cpu")

    def __init__(
        self,
        encoder: Encoder,
        arithmetic: Arithmetic,
        *,
        ranges: Mapping[str, Tensor] | None = None,
        variant: Variant | None = None,
        is_profiled: bool = False,
    ) -> None:
        """Lay out the weights of `encoder` for the library of a variant (None: the fastest). Raises `BackendUnavailable`.

        Where `is_profiled`, the kernels count their time, for `spent`.
        """
        self.reason = ""
        self.name = "int8" if arithmetic.is_calibrated else "compiled"
        self.dtype = torch.bfloat16 if arithmetic.is_tiled else torch.float32
        self.variant = variant or build.load_fastest()[0]
        weights = {name: it.detach().float().numpy() for name, it in encoder.state_dict().items()}
        loaded = build.load(self.variant, is_profiled=is_profiled)
        own = None if ranges is None else {name: it.numpy() for name, it in ranges.items()}
        self.native = NativeEncoder(weights, encoder.config, arithmetic, loaded, ranges=own)
        self.native.set_threads(torch.get_num_threads())

    @property
    def description(self) -> str:
        """The arithmetic and the instructions, for people."""
        return f"{self.native.arithmetic.name} {self.name} ({self.variant.name})"

    def encode(self, packed: Packed, layers: Collection[int]) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        return dict(zip(layers, self.read(packed, [Readout(((it, 1.0),), None) for it in layers]), strict=True))

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return self.native.num_rows(packed)

    def read(self, packed: Packed, readings: Sequence[Readout], context: PassContext = LIVE_PASS) -> list[Tensor]:
        """Return the result of each of `readings`."""
        return [torch.from_numpy(it) for it in self.native.read(packed, readings, context)]


def compile_for(
    encoder: Encoder, dtype: torch.dtype, *, is_8_bit: bool, ranges: Mapping[str, Tensor] | None, trial: Trial | None = None
) -> Compiled:
    """Return the native engine in 8 bits, as measured on a trial, or in the fastest arithmetic of a number format.

    Raises `BackendUnavailable`.
    """
    if trial is not None and not is_8_bit:
        return _measured(encoder, trial)
    reasons = []
    for arithmetic in _IN_BYTES if is_8_bit else _ARITHMETICS.get(dtype, ()):
        try:
            return Compiled(encoder, arithmetic, ranges=ranges)
        except build.BackendUnavailable as error:
            reasons.append(str(error))
    raise build.BackendUnavailable("; ".join(dict.fromkeys(reasons)) or f"the native engine has no products in {dtype}")


def _measured(encoder: Encoder, trial: Trial) -> Compiled:
    """Return the native engine in the fastest arithmetic that is exact enough on the trial."""
    variant, loaded = build.load_fastest()
    measured = measure_once(
        {name: it.detach().float().numpy() for name, it in encoder.state_dict().items()},
        *(encoder.config, loaded, trial),
        num_threads=torch.get_num_threads(),
        library=build.library_name(variant),
    )
    found = Compiled(encoder, find_arithmetic(measured.chosen), variant=variant)
    found.reason = str(measured)
    return found
