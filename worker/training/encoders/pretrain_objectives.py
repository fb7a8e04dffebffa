"""What an encoder can learn from texts that nobody labelled. Pure, but for the head that guesses words.

Masked words: some tokens are hidden and guessed from the others (Devlin et al., "BERT", 2019). Contrast: two views of a text are
nearer to each other than to other texts (Gao et al., "SimCSE", 2021); a view leaves some tokens out, as our encoder knows no
dropout (Yan et al., "ConSERT", 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the tokens these are guessed; of those these are shown as a mask, and these as any other token.
_GUESSED, _SHOWN_AS_MASK, _SHOWN_AS_ANY = 0.15, 0.8, 0.1
# Of the tokens of a view these are left out.
_LEFT_OUT = 0.2
_TEMPERATURE = 0.05
_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class Masked:
    """A text with some tokens hidden."""

    #: What is shown, int32, `[tokens]`.
    shown: NDArray[np.int32]
    #: Where tokens are to be guessed; at least one, unless every token is special.
    places: NDArray[np.intp]
    #: What stood there.
    hidden: NDArray[np.int32]


def masked(
    ids: NDArray[np.int32], is_special: NDArray[np.bool_], *, mask: int, vocab_size: int, generator: np.random.Generator
) -> Masked:
    """Hide some tokens of a text, none of them special."""
    own = np.flatnonzero(~is_special)
    places = np.sort(generator.permutation(own)[: max(1, round(len(own) * _GUESSED))])
    chances = generator.random(len(places))
    shown = ids.copy()
    shown[places[chances < _SHOWN_AS_MASK]] = mask
    others = places[chances >= 1 - _SHOWN_AS_ANY]
    shown[others] = generator.integers(0, vocab_size, len(others))
    return Masked(shown, places, ids[places])


def view(ids: NDArray[np.int32], is_special: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.int32]:
    """Leave some tokens of a text out, none of them special, and never all others."""
    is_kept = is_special | (generator.random(len(ids)) >= _LEFT_OUT)
    if (is_kept == is_special).all():
        is_kept[:] = True
    kept: NDArray[np.int32] = ids[is_kept]
    return kept


def contrast(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean cross-entropy of finding each text's other view among all, from their vectors `[n, H]`."""
    similar = functional.normalize(one, dim=1) @ functional.normalize(other, dim=1).T / _TEMPERATURE
    places = torch.arange(len(similar), device=similar.device)
    return (functional.cross_entropy(similar, places) + functional.cross_entropy(similar.T, places)) / 2


class Guess(nn.Module):
    """Guesses tokens from states, by the encoder's own table of words."""

    def __init__(self, words: nn.Embedding) -> None:
        """Share `words` with the encoder."""
        super().__init__()
        self.words = words
        self.dense = nn.Linear(words.embedding_dim, words.embedding_dim)
        self.norm = nn.LayerNorm(words.embedding_dim)
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, states: Tensor) -> Tensor:
        """[guesses, H] → logits [guesses, vocabulary]."""
        return functional.linear(self.norm(functional.gelu(self.dense(states))), self.words.weight, self.bias)


@torch.no_grad()
def randomize(encoder: nn.Module) -> None:
    """Give an encoder the random weights that such encoders begin with: normal, narrow, and biases of zero."""
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=_SPREAD)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
