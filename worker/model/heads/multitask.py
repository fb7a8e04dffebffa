"""One encoder, any number of named heads, one forward pass for all of them. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.errors import BadModel
from worker.model.heads.readout import Readout
from worker.model.published_heads.head import PublishedHead

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from worker.model.encoder.encoder_config import EncoderConfig
    from worker.model.heads.readout import AnyHead
    from worker.model.pooling.pooling import Pooling, PoolingConfig

    Floats = NDArray[np.float32]

_SMALLEST_NORM = np.float32(1e-12)


@dataclass(frozen=True, slots=True)
class MultiTaskOutputs:
    """The results of one pass for `n` packed texts of `T` tokens."""

    #: Sentence vectors, fp32, shape `[n, H]`; None where they were not asked for.
    vectors: Floats | None
    #: Logits by head: `[n, num_logits]`, or `[T, num_logits]` for a head that reads tokens.
    logits: dict[str, Floats]


class MultiTaskHeads:
    """All heads of one encoder; a pass computes only the heads, and only the layers, that were asked for."""

    def __init__(self, encoder: EncoderConfig, sentence: PoolingConfig, heads: Sequence[AnyHead | PublishedHead]) -> None:
        """Put the heads together; raises `BadModel` where two share a name or one reads a layer that is not there."""
        self.sentence = sentence
        self.last_layer = encoder.num_hidden_layers
        #: The heads by name.
        self.heads = {head.config.name: head for head in heads}
        self._published = {name: head for name, head in self.heads.items() if isinstance(head, PublishedHead)}
        if len(self.heads) != len(heads):
            raise BadModel("two heads have the same name")
        for head in heads:
            if max(head.config.layers) > self.last_layer:
                raise BadModel(
                    f"the head {head.config.name!r} reads layer {max(head.config.layers)} of an encoder of {self.last_layer} layers"
                )

    def readings(self, *, is_embedding: bool, heads: Collection[str]) -> list[Readout]:
        """Return the readouts of a pass: for each of these heads, and last for the sentence vectors."""
        pooling = self.sentence.pooling
        own = [_build_readout(head, pooling) for name, head in self.heads.items() if name in heads]
        return [*own, Readout(((self.last_layer, 1.0),), pooling)] if is_embedding else own

    def collect(self, read: Sequence[Floats], *, is_embedding: bool, heads: Collection[str]) -> MultiTaskOutputs:
        """Put together the results of a pass, in the order of `readings`."""
        logits = dict(zip([name for name in self.heads if name in heads], read, strict=False))
        for name in self._published.keys() & logits.keys():
            logits[name] = self._published[name].compute_logits(logits[name])
        return MultiTaskOutputs(self._vectors(read[-1]) if is_embedding else None, logits)

    def collect_transitions(self) -> dict[str, NDArray[np.float64]]:
        """Return the learned transitions between labels, by head."""
        own = {name: head.to_weights().transitions for name, head in self.heads.items() if not isinstance(head, PublishedHead)}
        return {name: transitions.astype(np.float64) for name, transitions in own.items() if transitions is not None}

    def _vectors(self, pooled: Floats) -> Floats:
        for dense in self.sentence.dense:
            pooled = dense.apply(pooled)
        pooled = pooled[:, : self.sentence.dimensions]
        if not self.sentence.is_normalized:
            return pooled
        vectors: Floats = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), _SMALLEST_NORM)
        return vectors


def _build_readout(head: AnyHead | PublishedHead, pooling: Pooling) -> Readout:
    """Return the readout of a head: of a published head the states that it reads, from which `collect` computes the logits."""
    if isinstance(head, PublishedHead):
        return Readout(head.weights, head.config.pooling)
    return Readout(head.weights, None if head.config.reads_tokens else pooling, head)
