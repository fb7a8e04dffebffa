"""Measure the shares of a forward pass of the native engine on a CPU: matrix products, attention, norms, heads and the rest.

A separately compiled library measures the time in each kernel. `outside` is the remaining time: waiting threads, and Python.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from worker.errors import BadModel
from worker.model.backends.arithmetics import ARITHMETICS
from worker.model.backends.compiled import Compiled
from worker.model.backends.native.build import BackendUnavailable
from worker.model.quantization import measure_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.packing import Packed
    from worker.model.readout import Readout

STAGES = ("products", "attention", "norms", "heads", "rest", "outside")


@torch.inference_mode()
def measure(loaded: Checkpoint, packs: Sequence[Packed], *, threads: int) -> dict[str, dict[str, float]]:
    """Return the share of each of `STAGES` by arithmetic, with the readouts of all heads.

    Raises `BadModel` if the native engine cannot run.
    """
    torch.set_num_threads(threads)
    readings = loaded.heads.readings(is_embedding=True, heads=tuple(loaded.heads.heads))
    ranges, found = measure_ranges(loaded.encoder, iter(packs[:2])), {}
    for arithmetic in ARITHMETICS:
        try:
            backend = Compiled(loaded.weights, arithmetic, ranges=ranges, threads=threads, is_profiled=True)
        except BackendUnavailable as error:
            reason = str(error)
            continue
        found[f"{backend.description}, {threads} threads"] = _measure_shares(backend, packs, readings, threads)
    if not found:
        raise BadModel(f"only the native engine can be profiled: {reason}")
    return found


def _measure_shares(backend: Compiled, packs: Sequence[Packed], readings: Sequence[Readout], threads: int) -> dict[str, float]:
    _run_passes(backend, packs[:2], readings)
    backend.native.spent()
    whole_s = _run_passes(backend, packs, readings) * threads
    shares = {stage: seconds / whole_s for stage, seconds in backend.native.spent().items()}
    return shares | {"outside": 1 - sum(shares.values())}


def _run_passes(backend: Compiled, packs: Sequence[Packed], readings: Sequence[Readout]) -> float:
    """Run a forward pass for each batch, and return the duration in seconds."""
    began_s = time.perf_counter()
    for packed in packs:
        backend.read(packed, readings)
    return time.perf_counter() - began_s
