"""The results of any backend as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from worker.batches import LIVE_PASS, PassContext
from worker.model.heads.readout import Readout

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from worker.model.backends.choice import Backend
    from worker.model.text.packing import Packed


def read(backend: Backend, packed: Packed, readouts: Sequence[Readout], context: PassContext = LIVE_PASS) -> list[torch.Tensor]:
    """Return the result of each readout."""
    return [torch.from_numpy(result) for result in backend.begin(packed, readouts, context).wait()]


def encode(backend: Backend, packed: Packed, layers: Collection[int]) -> dict[int, torch.Tensor]:
    """Return the states after each of `layers`."""
    return dict(zip(layers, read(backend, packed, [Readout(((layer, 1.0),), None) for layer in layers]), strict=True))
