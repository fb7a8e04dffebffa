"""The native engine as a backend: on a CPU, in the arithmetic that was asked for or that was measured to be the fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.batches import LIVE_PASS, PassContext
from worker.host import count_cores
from worker.model.backends.arithmetics import BFLOAT16, BFLOAT16_TILES, FLOAT32, INT8, INT8_TILES, INT16, Arithmetic
from worker.model.backends.measurement import measure_once
from worker.model.backends.native import build
from worker.model.backends.native_encoder import NativeEncoder
from worker.model.heads.readout import Readout

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from worker.model.backends.measurement import Measured, Trial
    from worker.model.backends.native.build import Variant
    from worker.model.encoder.encoder_weights import EncoderWeights
    from worker.model.text.packing import Packed

    Floats = NDArray[np.float32]

# The arithmetics of each number format, or more exact ones, the fastest first.
_ARITHMETICS: Mapping[str, tuple[Arithmetic, ...]] = {
    "float32": (FLOAT32,),
    "int16": (INT16,),
    "bfloat16": (BFLOAT16_TILES, BFLOAT16, INT16, FLOAT32),
    "int8": (INT8_TILES, INT8),
}


class Done:
    """Results that are there."""

    def __init__(self, results: list[Floats]) -> None:
        """Hold the results."""
        self._results = results

    def wait(self) -> list[Floats]:
        """Return the results."""
        return self._results


class Compiled:
    """An encoder in the native engine; its results are fp32."""

    name = "compiled"
    device_type = "cpu"
    is_reentrant = True
    has_own_threads = True
    measured: Measured | None = None
    warm_lengths: Sequence[Sequence[int]] = ()

    def __init__(
        self,
        weights: EncoderWeights,
        arithmetic: Arithmetic,
        *,
        ranges: Mapping[str, Floats] | None = None,
        variant: Variant | None = None,
        threads: int = 0,
        is_profiled: bool = False,
    ) -> None:
        """Lay out the weights for the library of a variant (None: the fastest). Raises `BackendUnavailable`.

        `threads` compute at a time, 0: one for each core. Where `is_profiled`, the kernels count their time, for `native.spent`.
        """
        self.variant = variant or build.load_fastest()[0]
        loaded = build.load(self.variant, is_profiled=is_profiled)
        self.native = NativeEncoder(weights, arithmetic, loaded, ranges=ranges)
        self.native.set_threads(threads or count_cores())

    @property
    def arithmetic(self) -> Arithmetic:
        """How numbers are multiplied."""
        return self.native.arithmetic

    @property
    def description(self) -> str:
        """The arithmetic and the instructions, for people."""
        return f"{self.arithmetic.name} {self.name} ({self.variant.name})"

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return self.native.num_rows(packed)

    def encode(self, packed: Packed, layers: Collection[int]) -> dict[int, Floats]:
        """Return the states after each of `layers`."""
        return dict(zip(layers, self.read(packed, [Readout(((layer, 1.0),), None) for layer in layers]), strict=True))

    def read(self, packed: Packed, readouts: Sequence[Readout], context: PassContext = LIVE_PASS) -> list[Floats]:
        """Return the result of each of `readouts`."""
        return self.native.read(packed, readouts, context)

    def begin(self, packed: Packed, readouts: Sequence[Readout], context: PassContext = LIVE_PASS) -> Done:
        """Run a pass and return its results."""
        return Done(self.read(packed, readouts, context))


def compile_encoder(
    weights: EncoderWeights,
    dtype: str,
    *,
    ranges: Mapping[str, Floats] | None = None,
    trial: Trial | None = None,
    threads: int = 0,
) -> Compiled:
    """Return the native engine as measured on a trial, or in the fastest arithmetic of a number format.

    Raises `BackendUnavailable`.
    """
    if trial is not None:
        return _compile_measured(weights, trial, threads)
    reasons = []
    for arithmetic in _ARITHMETICS.get(dtype, ()):
        try:
            return Compiled(weights, arithmetic, ranges=ranges, threads=threads)
        except build.BackendUnavailable as error:
            reasons.append(str(error))
    raise build.BackendUnavailable("; ".join(dict.fromkeys(reasons)) or f"the native engine has no products in {dtype}")


def _compile_measured(weights: EncoderWeights, trial: Trial, threads: int) -> Compiled:
    """Return the native engine in the fastest arithmetic that is exact enough on the trial."""
    variant, loaded = build.load_fastest()
    measured = measure_once(weights, loaded, trial, num_threads=threads or count_cores(), library=build.library_name(variant))
    found = compile_encoder(weights, measured.chosen, threads=threads)
    found.measured = measured
    return found
