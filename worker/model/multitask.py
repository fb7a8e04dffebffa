"""One encoder, any number of named heads, one forward pass for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from worker.errors import BadModel
from worker.model.heads import Head
from worker.model.pooling import sentence_vectors
from worker.model.readout import Readout

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from worker.model.encoder import EncoderConfig
    from worker.model.pooling import PoolingConfig


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one pass gives for `n` packed texts of `T` tokens."""

    #: Sentence vectors, fp32, shape `[n, H]`; None where nobody asked.
    vectors: Tensor | None
    #: Logits by head: `[n, num_logits]`, or `[T, num_logits]` for a head that reads tokens.
    logits: dict[str, Tensor]

    def to_host(self) -> Transfer:
        """Begin to copy them to this machine's memory; where they were may be overwritten at once, in the order of the stream."""
        # Into pinned memory, without waiting; what is here already stays.
        vectors = None if self.vectors is None else self.vectors.to("cpu", non_blocking=True)
        home = Outputs(vectors, {name: it.to("cpu", non_blocking=True) for name, it in self.logits.items()})
        if not any(it is not None and it.is_cuda for it in (self.vectors, *self.logits.values())):
            return Transfer(home, None)
        last = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's own
        last.record()
        return Transfer(home, last)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Results on their way from a GPU to this machine's memory; where there is no GPU they are there."""

    _outputs: Outputs
    _last: torch.cuda.Event | None

    def wait(self) -> Outputs:
        """Wait until all have arrived, and return them."""
        if self._last is not None:
            self._last.synchronize()
        return self._outputs


class MultiTaskHeads(nn.Module):
    """All heads of one encoder; a pass computes only the heads, and only the layers, that somebody asked for."""

    def __init__(self, encoder: EncoderConfig, sentence: PoolingConfig, heads: Sequence[Head]) -> None:
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

    def readings(self, *, is_embedding: bool, heads: Collection[str]) -> list[Readout]:
        """Return what is read of a pass: for each of these heads, and last for the sentence vectors."""
        pooling = self.sentence.pooling
        own = [
            Readout(head.weights, None if head.config.reads_tokens else pooling, None if head.deeper else head)
            for head in self._asked(heads)
        ]
        return [*own, Readout(((self.last_layer, 1.0),), pooling)] if is_embedding else own

    def forward(self, read: Sequence[Tensor], *, is_embedding: bool, heads: Collection[str]) -> Outputs:
        """Put together what was read, in the order of `readings`."""
        # A backend asks heads with one hidden layer, or none, in its kernels; the others are asked here.
        logits = {
            head.config.name: head.read(it).float() if head.deeper else it
            for head, it in zip(self._asked(heads), read, strict=False)
        }
        return Outputs(sentence_vectors(read[-1], self.sentence) if is_embedding else None, logits)

    def _asked(self, heads: Collection[str]) -> list[Head]:
        return [head for name, head in self.heads.items() if name in heads and isinstance(head, Head)]
