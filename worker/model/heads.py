"""What is learned on top of the encoder: text classification and named entities.

A head reads a mix of the encoder's layers, because a sentence-tuned encoder's last layer is a poor place to read tokens from. It is
linear (for two labels: logistic regression), or has one hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from worker.errors import BadModel
from worker.model import bio
from worker.records import Classification, Entity, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.records import TokenizedItem


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """What a head is, as a checkpoint's manifest says."""

    #: The name that its results carry.
    name: str
    task: Literal["classify", "ner"]
    #: For `classify` the labels; for `ner` the BIO labels, `O` among them.
    labels: tuple[str, ...]
    #: The encoder layers that it reads, 0 being the embeddings; several are mixed with learned weights.
    layers: tuple[int, ...]
    #: The width of the hidden layer; 0 for a linear head.
    hidden_size: int = 0
    #: The share of inputs that training hides.
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could not be a head."""
        if self.task not in (Task.CLASSIFY, Task.NER):
            raise BadModel(f"the head {self.name!r} has the task {self.task!r}; classify and ner are known")
        if len(set(self.labels)) < 2 or len(set(self.labels)) < len(self.labels):  # noqa: PLR2004
            raise BadModel(f"the head {self.name!r} needs at least two labels, all different")
        if not self.layers or min(self.layers) < 0:
            raise BadModel(f"the head {self.name!r} reads no layer of the encoder")

    @property
    def num_logits(self) -> int:
        """How many numbers the head gives: one for two classes (logistic regression), else one for each label."""
        is_binary = self.task == "classify" and len(self.labels) == 2  # noqa: PLR2004
        return 1 if is_binary else len(self.labels)


class Head(nn.Module):
    """A learned mix of layers, then a linear map or one hidden layer."""

    def __init__(self, config: HeadConfig, encoder_size: int) -> None:
        """Build it with random weights for an encoder of `encoder_size` dimensions."""
        super().__init__()
        self.config = config
        self.mix = nn.Parameter(torch.zeros(len(config.layers)))
        self.norm = nn.LayerNorm(encoder_size)
        self.dropout = nn.Dropout(config.dropout)
        width = config.hidden_size or encoder_size
        self.hidden = nn.Linear(encoder_size, width) if config.hidden_size else None
        self.output = nn.Linear(width, config.num_logits)

    def forward(self, layers: list[Tensor]) -> Tensor:
        """Return logits `[..., num_logits]`, fp32, from the states of each of its layers, `[..., H]` each."""
        weights = self.mix.softmax(0)
        return self.read(
            sum((weight * layer.float() for weight, layer in zip(weights, layers, strict=True)), start=torch.zeros(()))
        )

    @property
    def weights(self) -> tuple[tuple[int, float], ...]:
        """The share of each of its layers."""
        return tuple(zip(self.config.layers, self.mix.softmax(0).tolist(), strict=True))

    def read(self, mixed: Tensor) -> Tensor:
        """Return logits `[..., num_logits]` from mixed states `[..., H]`, which may be pooled: pooling is a mix too."""
        x = self.dropout(self.norm(mixed.to(self.norm.weight.dtype)))
        if self.hidden is not None:
            x = self.dropout(nn.functional.gelu(self.hidden(x)))
        logits: Tensor = self.output(x.to(self.output.weight.dtype))
        return logits

    def compute_in(self, dtype: torch.dtype) -> None:
        """Compute in a number format; the last step, which is small, stays in fp32."""
        self.norm.to(dtype)
        if self.hidden is not None:
            self.hidden.to(dtype)


def classification(config: HeadConfig, logits: NDArray[np.float32]) -> Classification:
    """Return what the logits of one text, shape `[num_logits]`, say."""
    if config.num_logits == 1:
        # The sigmoid, in a form that no logit overflows.
        positive = (1 + np.tanh(np.float64(logits[0]) / 2)) / 2
        probabilities = np.array([1 - positive, positive])
    else:
        probabilities = np.exp(_log_softmax(logits.astype(np.float64)))
    scores = {label: float(score) for label, score in zip(config.labels, probabilities, strict=True)}
    label = max(scores, key=scores.__getitem__)
    return Classification(label, scores[label], scores)


def entities(config: HeadConfig, logits: NDArray[np.float32], tokenized: TokenizedItem) -> tuple[Entity, ...]:
    """Return the entities of one text from the logits of its tokens, shape `[tokens, labels]`.

    A word is labelled by its first piece. An entity reaches from the first character of its first word to the last of its last, in
    code points of the original text; its score is the mean probability of its words' labels.
    """
    tokens, text = tokenized.tokens, tokenized.item.text
    if (logits.argmax(axis=1) == config.labels.index(bio.OUTSIDE)).all():
        return ()
    is_first = np.flatnonzero((tokens.words >= 0) & (np.diff(tokens.words, prepend=-1) != 0))
    if not len(is_first):
        return ()
    # A word's last piece stands right before the next word's first, or before whatever special token follows.
    is_last = np.flatnonzero((tokens.words >= 0) & (np.diff(tokens.words, append=-1) != 0))
    scores = _log_softmax(logits[is_first].astype(np.float64))
    path = bio.best_path(scores, bio.allowed_transitions(config.labels))
    found = []
    for kind, first, end in bio.entities([config.labels[index] for index in path]):
        start_char, end_char = int(tokens.spans[is_first[first]][0]), int(tokens.spans[is_last[end - 1]][1])
        score = float(np.exp(scores[np.arange(first, end), path[first:end]]).mean())
        found.append(Entity(kind, text[start_char:end_char], start_char, end_char, min(score, 1.0), config.name))
    return tuple(found)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalized
