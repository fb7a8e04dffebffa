"""What a pass goes into: matrix products, attention, norms, heads, and the rest; of the compiled ways on a CPU.

On tile registers the kernels count their own time, in a library that is compiled for that; what their threads wait, and what is
done in Python around them, is `outside`. Elsewhere products, attention and norms are calls, whose time is taken one by one.
"""

from __future__ import annotations

import cProfile
import time
from typing import TYPE_CHECKING

import torch

from worker.errors import BadModel
from worker.model.backends.amx import AmxBackend
from worker.model.backends.choice import choose
from worker.model.backends.native.kernels import Kernels
from worker.model.backends.onednn import Linear, OneDnn
from worker.model.engine import number_format
from worker.model.quantization import measure_ranges
from worker.model.readout import Readout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.model.backends.choice import Backend
    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.packing import Packed

STAGES = ("products", "attention", "norms", "heads", "rest", "outside")
_CALLS = {Linear.__call__: "products", Kernels.attend: "attention", Kernels.add_norm: "norms", Readout.of: "heads"}


@torch.inference_mode()
def measure(loaded: Checkpoint, packs: Sequence[Packed], *, threads: int) -> dict[str, dict[str, float]]:
    """Return by what runs the share of each of `STAGES`, all heads being read; on tile registers with 8-bit products, too.

    Raises `BadModel` where no compiled way is here.
    """
    torch.set_num_threads(threads)
    cpu = torch.device("cpu")
    backend, _ = choose(loaded.encoder, "auto", device=cpu, dtype=number_format("auto", cpu))
    readings = loaded.heads.readings(is_embedding=True, heads=tuple(loaded.heads.heads))
    if isinstance(backend, AmxBackend):
        ranges = measure_ranges(loaded.encoder, iter(packs[:2]))
        tiled = [AmxBackend(loaded.encoder, ranges=it, is_profiled=True) for it in (None, ranges)]
        return {_name(it): _tiled(it, packs, readings) for it in tiled}
    if isinstance(backend, OneDnn):
        return {_name(backend): _called(backend, packs, readings)}
    raise BadModel(f"only the compiled ways can be profiled; here is {backend.name}")


def _name(backend: Backend) -> str:
    dtype = "" if backend.name == "int8" else f", {str(backend.dtype).removeprefix('torch.')}"
    return f"{backend.name}{dtype}, {torch.get_num_threads()} threads"


def _tiled(backend: AmxBackend, packs: Sequence[Packed], readings: Sequence[Readout]) -> dict[str, float]:
    _seconds(backend, packs[:2], readings)
    backend.spent()
    whole_s = _seconds(backend, packs, readings) * torch.get_num_threads()
    shares = {stage: seconds / whole_s for stage, seconds in backend.spent().items()}
    return shares | {"outside": 1 - sum(shares.values())}


def _called(backend: OneDnn, packs: Sequence[Packed], readings: Sequence[Readout]) -> dict[str, float]:
    _seconds(backend, packs[:2], readings)
    with cProfile.Profile() as profile:
        whole_s = _seconds(backend, packs, readings)
    seconds = {it.code: it.totaltime for it in profile.getstats()}
    shares = {stage: seconds.get(method.__code__, 0.0) / whole_s for method, stage in _CALLS.items()}
    return shares | {"rest": 1 - sum(shares.values())}


def _seconds(backend: Backend, packs: Sequence[Packed], readings: Sequence[Readout]) -> float:
    """Run some passes, and return how long they took."""
    began_s = time.perf_counter()
    for it in packs:
        backend.read(it, readings)
    return time.perf_counter() - began_s
