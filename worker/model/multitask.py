"""One encoder, any number of named heads, one forward pass for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from worker.errors import BadModel
from worker.model.heads import Head
from worker.model.sentence import pool, sentence_vectors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.model.encoder import EncoderConfig
    from worker.model.sentence import SentenceConfig


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one pass gives for `n` packed texts of `T` tokens."""

    #: Sentence vectors, fp32, shape `[n, H]`; None where nobody asked.
    vectors: Tensor | None
    #: Logits by head: `[n, num_logits]` for `classify`, `[T, labels]` for `ner`.
    logits: dict[str, Tensor]


class MultiTaskHeads(nn.Module):
    """All heads of one encoder; a pass computes only the heads, and only the layers, that somebody asked for."""

    def __init__(self, encoder: EncoderConfig, sentence: SentenceConfig, heads: Sequence[Head]) -> None:
        """Put the heads together; raises `BadModel` where two share a name or one reads a layer that is not there."""
        super().__init__()
        self.sentence = sentence
        self.last_layer = encoder.num_hidden_layers
        self.heads = nn.ModuleDict({head.config.name: head for head in heads})
        if len(self.heads) != len(heads):
            raise BadModel("two heads have the same name")
        for head in heads:
            if max(head.config.layers) > self.last_layer:
                raise BadModel(
                    f"the head {head.config.name!r} reads layer {max(head.config.layers)} of an encoder of {self.last_layer} layers"
                )

    def layers(self, *, is_embedding: bool, heads: Collection[str]) -> set[int]:
        """Return the layers whose states are needed for the sentence vectors, and for these heads."""
        return {it for head in self._asked(heads) for it in head.config.layers} | ({self.last_layer} if is_embedding else set())

    def forward(self, states: Mapping[int, Tensor], cu_seqlens: Tensor, *, is_embedding: bool, heads: Collection[str]) -> Outputs:
        """Read the states `[T, H]` of the layers; `cu_seqlens` are the starts of the texts, `[n + 1]`."""
        logits = {}
        for head in self._asked(heads):
            mixed = head.mixed([states[layer] for layer in head.config.layers])
            if head.config.task == "classify":
                mixed = pool(mixed, cu_seqlens, self.sentence.pooling)
            logits[head.config.name] = head.read(mixed)
        return Outputs(sentence_vectors(states[self.last_layer], cu_seqlens, self.sentence) if is_embedding else None, logits)

    def _asked(self, heads: Collection[str]) -> list[Head]:
        return [head for name, head in self.heads.items() if name in heads and isinstance(head, Head)]
