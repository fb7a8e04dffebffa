"""What is read of the encoder's states: a mix of layers, for each token or for each text, and the logits of a head. Without torch.

Heads and the sentence vector need no more than that of a pass. A backend that knows its readouts gathers them on the way, and need
not hand out the states of every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from worker.model.head_config import HeadConfig, HeadWeights
    from worker.model.pooling import Pooling


class AnyHead(Protocol):
    """A head that is served (`HeadWeights`), or one that learns (`heads.Head`)."""

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

    #: The weight of each layer that counts; 0 are the embeddings.
    weights: tuple[tuple[int, float], ...]
    #: How the tokens of a text become one; None for each token's own.
    pooling: Pooling | None
    #: What turns the mix into logits; None for the mix itself.
    head: AnyHead | None = None

    @property
    def layers(self) -> set[int]:
        """The layers that count."""
        return {layer for layer, _ in self.weights}
