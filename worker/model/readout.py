"""What somebody reads of the encoder's states: a mix of layers, for each token or for each text, and what a head makes of it.

Heads and the sentence vector need no more than that of a pass. A backend that knows what will be read can gather it on the way, and
need not hand out the states of every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from worker.batches import LIVE_PASS, PassContext
from worker.model.pooling import pool

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

    from worker.model.heads import Head
    from worker.model.packing import Packed
    from worker.model.pooling import Pooling


@dataclass(frozen=True, slots=True)
class Readout:
    """A mix of the states after some layers."""

    #: The weight of each layer that counts; 0 are the embeddings.
    weights: tuple[tuple[int, float], ...]
    #: How the tokens of a text become one; None for each token's own.
    pooling: Pooling | None
    #: What turns the mix into logits; None for the mix itself.
    head: Head | None = None

    @property
    def layers(self) -> set[int]:
        """The layers that count."""
        return {layer for layer, _ in self.weights}

    def of(self, states: Mapping[int, Tensor], cu_seqlens: Tensor) -> Tensor:
        """Mix states `[T, H]` by layer: to `[T, H]` in their format, or pooled by text (starts `cu_seqlens`) to fp32 `[n, H]`.

        With a head, return its logits, fp32, for each of these rows.
        """
        (first, weight), *others = self.weights
        mixed = states[first].float() * weight
        for layer, weight in others:
            mixed.add_(states[layer], alpha=weight)
        return self.said(mixed.to(states[first].dtype) if self.pooling is None else pool(mixed, cu_seqlens, self.pooling))

    def said(self, mixed: Tensor) -> Tensor:
        """Return what the head says of the mix, or the mix itself."""
        return mixed if self.head is None else self.head.read(mixed).float()


class ReadsLayers:
    """Gives a backend that computes states its `read`."""

    name: str
    device: torch.device
    dtype: torch.dtype
    has_own_threads = False
    reason = ""
    #: The lengths of texts of batches to run before readiness, beside a short and a long text.
    warm_lengths: Sequence[Sequence[int]] = ()

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
        """Return what each of `readings` says, as `Readout.of` does."""
        states = self.encode(packed, set().union(*(it.layers for it in readings)), context)
        cu_seqlens = torch.from_numpy(packed.cu_seqlens).to(self.device)
        return [it.of(states, cu_seqlens) for it in readings]
