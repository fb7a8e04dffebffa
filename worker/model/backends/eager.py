"""Plain PyTorch: the reference, for every device and number format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.batches import LIVE_PASS, PassContext
from worker.model.backends.reads_layers import ReadsLayers
from worker.model.encoder.packed_tensors import PackedTensors

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch
    from torch import Tensor

    from worker.model.encoder.encoder import Encoder
    from worker.model.text.packing import Packed


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
            PackedTensors.from_packed(packed, device=self.device, dtype=self.dtype), layers, context=context
        )
        return states
