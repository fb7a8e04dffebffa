"""The common part of the backends of PyTorch: they compute states, and readouts are made of these."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from worker.batches import LIVE_PASS, PassContext
from worker.model.heads.heads import Head
from worker.model.pooling.torch_pooling import pool

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.backends.measurement import Measured
    from worker.model.heads.readout import Readout
    from worker.model.text.packing import Packed


def read_states(readout: Readout, states: Mapping[int, Tensor], cu_seqlens: Tensor) -> Tensor:
    """Mix states `[T, H]` by layer: to `[T, H]` in their format, or pooled by text (starts `cu_seqlens`) to fp32 `[n, H]`.

    With a head, return its logits, fp32, for each of these rows.
    """
    (first, weight), *others = readout.weights
    mixed = states[first].float() * weight
    for layer, weight in others:
        mixed.add_(states[layer], alpha=weight)
    mixed = mixed.to(states[first].dtype) if readout.pooling is None else pool(mixed, cu_seqlens, readout.pooling)
    return mixed if not isinstance(readout.head, Head) else readout.head.read(mixed).float()


class Pending:
    """Results on their way from a device to this machine's memory; on a CPU they are there."""

    def __init__(self, results: Sequence[Tensor]) -> None:
        """Begin to copy; the memory on the device may be overwritten at once, in the order of the stream."""
        # Into pinned memory, without waiting; results that are here already stay.
        self._results = [result.float().to("cpu", non_blocking=True) for result in results]
        self._last: torch.cuda.Event | None = None
        if any(result.is_cuda for result in results):
            self._last = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's own
            self._last.record()

    def wait(self) -> list[NDArray[np.float32]]:
        """Wait until all have arrived, and return them."""
        if self._last is not None:
            self._last.synchronize()
        return [result.numpy() for result in self._results]


class ReadsLayers:
    """Gives a backend that computes states its `read`."""

    name: str
    device: torch.device
    dtype: torch.dtype
    has_own_threads = False
    measured: Measured | None = None
    #: The lengths of texts of batches to run before readiness, in addition to a short and a long text.
    warm_lengths: Sequence[Sequence[int]] = ()

    @property
    def device_type(self) -> str:
        """The kind of device."""
        return self.device.type

    @torch.inference_mode()
    def begin(self, packed: Packed, readouts: Sequence[Readout], context: PassContext = LIVE_PASS) -> Pending:
        """Begin a pass; the results are copied to memory as they become ready."""
        return Pending(self.read(packed, [self._on_device(readout) for readout in readouts], context))

    def _on_device(self, readout: Readout) -> Readout:
        """Return a readout whose head is a module on the device; the same for the same readout."""
        if readout.head is None or isinstance(readout.head, Head):
            return readout
        known = self.__dict__.setdefault("_known_readouts", {})
        if readout not in known:
            head = Head.from_weights(readout.head.to_weights()).eval().to(self.device)
            if head.config.reads_tokens:
                # The others read one vector for each text, which costs nothing.
                head.compute_in(self.dtype)
            known[readout] = replace(readout, head=head)
        found: Readout = known[readout]
        return found

    @property
    def description(self) -> str:
        """The number format and the name, for people."""
        return f"{str(self.dtype).removeprefix('torch.')} {self.name}"

    def encode(self, packed: Packed, layers: Collection[int], context: PassContext = LIVE_PASS) -> dict[int, Tensor]:
        """Return the states after each of `layers`; yield as `context` says between two of them, if the backend can."""
        raise NotImplementedError

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return len(packed.ids)

    def read(self, packed: Packed, readings: Sequence[Readout], context: PassContext = LIVE_PASS) -> list[Tensor]:
        """Return the result of each of `readings`, as `read_states` does."""
        states = self.encode(packed, set().union(*(reading.layers for reading in readings)), context)
        cu_seqlens = torch.from_numpy(packed.cu_seqlens).to(self.device)
        return [read_states(reading, states, cu_seqlens) for reading in readings]
