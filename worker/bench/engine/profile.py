"""Measure the shares of a forward pass of the native engine on a CPU: matrix products, attention, norms, heads and the rest.

A separately compiled library measures the time in each kernel. `outside` is the remaining time: waiting threads, and Python.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from worker.model.backends.arithmetics import BFLOAT16, BFLOAT16_TILES, FLOAT32, INT8, INT8_TILES, INT16
from worker.model.backends.compiled import Compiled
from worker.model.backends.native.build import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.bench.frame.runs import Runs
    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.heads.readout import Readout
    from worker.model.text.packing import Packed

STAGES = ("products", "attention", "norms", "heads", "rest", "outside")
# The fastest of each name first.
_ARITHMETICS = (FLOAT32, INT16, BFLOAT16_TILES, BFLOAT16, INT8_TILES, INT8)


def load_profiled(loaded: Checkpoint, *, threads: int) -> dict[str, Compiled]:
    """Return the native engine in each arithmetic of this machine, by name, with kernels that count their time.

    `loaded` is calibrated. Raises `BackendUnavailable` if no arithmetic can run.
    """
    found: dict[str, Compiled] = {}
    reason = ""
    for arithmetic in _ARITHMETICS:
        try:
            if arithmetic.name not in found:
                found[arithmetic.name] = Compiled(
                    loaded.weights, arithmetic, ranges=loaded.ranges, threads=threads, is_profiled=True
                )
        except BackendUnavailable as error:
            reason = str(error)
    if not found:
        raise BackendUnavailable(reason)
    return found


def measure_stages(
    backend: Compiled, packs: Iterable[Packed], readings: Sequence[Readout], *, threads: int
) -> tuple[float, dict[str, float]]:
    """Run the batches; return the seconds in all, and of each of `STAGES`, per thread."""
    backend.native.spent()
    began_s = time.perf_counter()
    for packed in packs:
        backend.read(packed, readings)
    whole_s = time.perf_counter() - began_s
    stages = {stage: seconds / threads for stage, seconds in backend.native.spent().items()}
    return whole_s, stages | {"outside": whole_s - sum(stages.values())}


def profile_model(name: str, loaded: Checkpoint, packs: Sequence[Packed], runs: Runs, *, threads: int) -> None:
    """Add the share of each of `STAGES` in percent, by arithmetic, with the readouts of all heads."""
    readings = loaded.heads.readings(is_embedding=True, heads=tuple(loaded.heads.heads))
    for backend in load_profiled(loaded, threads=threads).values():
        measure_stages(backend, packs[:2], readings, threads=threads)
        whole_s, stages = measure_stages(backend, packs, readings, threads=threads)
        shares = {stage: 100 * seconds / whole_s for stage, seconds in stages.items()}
        runs.add(f"{name}, {backend.description}, {threads} threads", **shares)
