"""What a pass goes into: matrix products, attention, norms, heads, and the rest; of the compiled ways on a CPU.

On tile registers the kernels count their own time, in a library that is compiled for that; what their threads wait, and what is
done in Python around them, is `outside`. Elsewhere products, attention and norms are calls, whose time is taken one by one.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import torch

from worker.errors import BadModel
from worker.model.backends import choose
from worker.model.calibration import ranges_of
from worker.model.compiled import Compiled, Linear
from worker.model.engine import number_format
from worker.model.native.kernels import Kernels
from worker.model.packing import pack
from worker.model.reading import Reading
from worker.model.tiled import Tiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from worker.model.backends import Backend
    from worker.model.checkpoint import Checkpoint
    from worker.model.packing import Packed
    from worker.records import Tokens

STAGES = ("products", "attention", "norms", "heads", "rest", "outside")
_CALLS = ((Linear, "__call__", "products"), (Kernels, "attend", "attention"), (Kernels, "add_norm", "norms"))


def batches(tokens: Sequence[Tokens], *, max_tokens: int) -> list[Packed]:
    """Return texts as whole passes, in order."""
    packs, first, total = [], 0, 0
    for number, it in enumerate(tokens):
        if total + len(it) > max_tokens:
            packs.append(pack([its.ids for its in tokens[first:number]]))
            first, total = number, 0
        total += len(it)
    return packs or [pack([it.ids for it in tokens])]


@torch.inference_mode()
def measure(loaded: Checkpoint, packs: Sequence[Packed], *, threads: int) -> dict[str, dict[str, float]]:
    """Return by what runs the share of each of `STAGES`, all heads being read; on tile registers with 8-bit products, too.

    Raises `BadModel` where no compiled way is here.
    """
    torch.set_num_threads(threads)
    cpu = torch.device("cpu")
    backend, _ = choose(loaded.encoder, "auto", device=cpu, dtype=number_format("auto", cpu))
    readings = loaded.heads.readings(is_embedding=True, heads=tuple(loaded.heads.heads))
    if isinstance(backend, Tiled):
        ranges = ranges_of(loaded.encoder, iter(packs[:2]))
        tiled = [Tiled(loaded.encoder, ranges=it, is_profiled=True) for it in (None, ranges)]
        return {_name(it): _tiled(it, packs, readings) for it in tiled}
    if isinstance(backend, Compiled):
        return {_name(backend): _called(backend, packs, readings)}
    raise BadModel(f"only the compiled ways can be profiled; here is {backend.name}")


def _name(backend: Backend) -> str:
    dtype = "" if backend.name == "int8" else f", {str(backend.dtype).removeprefix('torch.')}"
    return f"{backend.name}{dtype}, {torch.get_num_threads()} threads"


def _tiled(backend: Tiled, packs: Sequence[Packed], readings: Sequence[Reading]) -> dict[str, float]:
    for it in packs[:2]:
        backend.read(it, readings)
    backend.spent()
    began_s = time.perf_counter()
    for it in packs:
        backend.read(it, readings)
    whole_s = (time.perf_counter() - began_s) * torch.get_num_threads()
    shares = {stage: seconds / whole_s for stage, seconds in backend.spent().items()}
    return shares | {"outside": 1 - sum(shares.values())}


def _called(backend: Compiled, packs: Sequence[Packed], readings: Sequence[Reading]) -> dict[str, float]:
    for it in packs[:2]:
        backend.read(it, readings)
    spent = dict.fromkeys(STAGES, 0.0)
    began_s = time.perf_counter()
    with contextlib.ExitStack() as timing:
        for owner, name, stage in (*_CALLS, (Reading, "of", "heads")):
            timing.enter_context(_timed(owner, name, stage, spent))
        for it in packs:
            backend.read(it, readings)
    whole_s = time.perf_counter() - began_s
    shares = {stage: seconds / whole_s for stage, seconds in spent.items()}
    return shares | {"rest": 1 - sum(shares.values())}


@contextlib.contextmanager
def _timed(owner: type, name: str, stage: str, spent: dict[str, float]) -> Iterator[None]:
    """Take the time of each call of a method."""
    method: Callable[..., Any] = getattr(owner, name)

    def timed(*given: Any, **options: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return method(*given, **options)
        finally:
            spent[stage] += time.perf_counter() - began_s

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, method)
