"""A packed batch as tensors on a device, with its slots for the attention.

Shapes: `T` tokens, `A` heads of width `D`; a group of `n` texts in slots of `L` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from worker.model.text.packing import slots_by_length

if TYPE_CHECKING:
    from torch import Tensor

    from worker.model.text.packing import Packed


@dataclass(frozen=True, slots=True)
class TextGroup:
    """Texts of similar length in slots of `L` tokens, and what attention adds for their distances."""

    #: The flat token in each place, int64, shape `[n, L]`.
    tokens: Tensor
    #: What is added to the scores of attention, shape `[n or 1, A or 1, L or 1, L]`; None for nothing.
    mask: Tensor | None
    #: Cosines and sines of rotary positions, `[L, D / 2]` each.
    rotary: tuple[Tensor, Tensor] | None = None
    #: The embeddings of distances `[2 * span, H]`, and the row for each query and key, `[L, L]`.
    distances: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, slots=True)
class PackedTensors:
    """A packed batch on the device, with its slots for the attention."""

    #: int64, shape `[T]`.
    ids: Tensor
    #: int64, shape `[T]`.
    positions: Tensor
    groups: tuple[TextGroup, ...]
    #: For each token its place among the places of all groups, shape `[T]`.
    place_of_token: Tensor

    @classmethod
    def from_packed(cls, packed: Packed, *, device: torch.device, dtype: torch.dtype) -> PackedTensors:
        """Copy a packed batch to a device; masks are of the encoder's dtype."""
        groups, place_of_token = slots_by_length(packed)

        def mask(is_token: Any) -> Tensor | None:
            if is_token is None:
                return None
            allowed = torch.from_numpy(is_token)[:, None, None, :]
            return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, float("-inf")).to(device)

        return cls(
            torch.from_numpy(packed.ids).to(device),
            torch.from_numpy(packed.positions).to(device),
            tuple(TextGroup(torch.from_numpy(group.tokens).to(device), mask(group.is_token)) for group in groups),
            torch.from_numpy(place_of_token).to(device),
        )
