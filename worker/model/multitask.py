"""One encoder, any number of named heads, one forward pass for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from worker.errors import BadModel
from worker.model.heads import Head
from worker.model.sentence import pool, sentence_vectors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from worker.model.encoder import Encoder, PackedTensors
    from worker.model.sentence import SentenceConfig


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one pass gives for `n` packed texts of `T` tokens."""

    #: Sentence vectors, fp32, shape `[n, H]`; None where nobody asked.
    vectors: Tensor | None
    #: Logits by head: `[n, num_logits]` for `classify`, `[T, labels]` for `ner`.
    logits: dict[str, Tensor]


class MultiTask(nn.Module):
    """An encoder with heads; a pass computes only the heads, and only the layers, that somebody asked for."""

    def __init__(self, encoder: Encoder, sentence: SentenceConfig, heads: Sequence[Head]) -> None:
        """Put the parts together; raises `BadModel` where two heads share a name or one reads a layer that is not there."""
        super().__init__()
        self.encoder = encoder
        self.sentence = sentence
        self.heads = nn.ModuleDict({head.config.name: head for head in heads})
        if len(self.heads) != len(heads):
            raise BadModel("two heads have the same name")
        last = encoder.config.num_hidden_layers
        for head in heads:
            if max(head.config.layers) > last:
                raise BadModel(
                    f"the head {head.config.name!r} reads layer {max(head.config.layers)} of an encoder of {last} layers"
                )

    def forward(self, batch: PackedTensors, cu_seqlens: Tensor, *, is_embedding: bool, heads: Collection[str]) -> Outputs:
        """Run one pass; `cu_seqlens` are the starts of the texts, `[n + 1]`."""
        asked = [head for name, head in self.heads.items() if name in heads and isinstance(head, Head)]
        last = self.encoder.config.num_hidden_layers
        layers = {layer for head in asked for layer in head.config.layers} | ({last} if is_embedding or not asked else set())
        states = self.encoder(batch, layers)
        logits = {}
        for head in asked:
            read = [states[layer] for layer in head.config.layers]
            if head.config.task == "classify":
                read = [pool(state, cu_seqlens, self.sentence.pooling) for state in read]
            logits[head.config.name] = head(read)
        return Outputs(sentence_vectors(states[last], cu_seqlens, self.sentence) if is_embedding else None, logits)
