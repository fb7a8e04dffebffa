"""Readouts of the encoder's states: a mix of layers, for each token or for each text, and the logits of a head. Without torch.

Heads and the sentence vector need only their readouts. A backend computes the readouts during the forward pass and does not return
the states of every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from worker.model.heads.head_config import HeadConfig, HeadWeights
    from worker.model.pooling.pooling import Pooling


class AnyHead(Protocol):
    """A head for inference (`HeadWeights`), or a head for training (`heads.Head`)."""

    @property
    def config(self) -> HeadConfig:
        """What the head is."""

    @property
    def weights(self) -> tuple[tuple[int, float], ...]:
        """The share of each of its layers."""

    def to_weights(self) -> HeadWeights:
        """Return the parameters as arrays."""


@dataclass(frozen=True, slots=True)
class Readout:
    """A mix of the states after some layers."""

    #: The weight of each layer in the mix; layer 0 is the embeddings.
    weights: tuple[tuple[int, float], ...]
    #: The pooling of the tokens of a text; None for one row for each token.
    pooling: Pooling | None
    #: The head that computes logits from the mix; None for the mix itself.
    head: AnyHead | None = None

    @property
    def layers(self) -> set[int]:
        """The layers in the mix."""
        return {layer for layer, _ in self.weights}
