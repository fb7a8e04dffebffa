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
    from collections.abc import Iterator, Sequence

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
    #: What its logits were divided by after training, so that its scores are probabilities; its output layer has it in it.
    temperature: float = 1.0

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


def classifications(config: HeadConfig, logits: NDArray[np.float32]) -> list[Classification]:
    """Return what the logits of `n` texts, shape `[n, num_logits]`, say of each."""
    if config.num_logits == 1:
        # The sigmoid, in a form that no logit overflows.
        positive = (1 + np.tanh(logits[:, 0].astype(np.float64) / 2)) / 2
        probabilities = np.stack([1 - positive, positive], axis=1)
    else:
        probabilities = np.exp(_log_softmax(logits.astype(np.float64)))
    best = probabilities.argmax(axis=1).tolist()
    return [
        Classification(config.labels[index], scores[index], dict(zip(config.labels, scores, strict=True)))
        for index, scores in zip(best, probabilities.tolist(), strict=True)
    ]


def entities(config: HeadConfig, logits: NDArray[np.float32], texts: Sequence[TokenizedItem]) -> list[tuple[Entity, ...]]:
    """Return the entities of each text from the logits of the texts' tokens, end to end, shape `[T, labels]`.

    A word is labelled by its first piece. An entity reaches from the first character of its first word to the last of its last, in
    code points of the original text; its score is the mean probability of its words' labels.
    """
    lengths = np.array([len(it.tokens) for it in texts])
    # Most texts name nobody, and cost no more than this.
    is_named = np.zeros(len(texts), dtype=bool)
    is_named[np.repeat(np.arange(len(texts)), lengths)[logits.argmax(axis=1) != config.labels.index(bio.OUTSIDE)]] = True
    numbers = np.flatnonzero(is_named).tolist()
    found: list[list[Entity]] = [[] for _ in numbers]
    if numbers:
        named = [texts[number] for number in numbers]
        for place, entity in _entities(config, logits[np.repeat(is_named, lengths)], named):
            found[place].append(entity)
    of_texts: list[tuple[Entity, ...]] = [()] * len(texts)
    for number, own in zip(numbers, found, strict=True):
        of_texts[number] = tuple(own)
    return of_texts


def _entities(config: HeadConfig, logits: NDArray[np.float32], texts: Sequence[TokenizedItem]) -> Iterator[tuple[int, Entity]]:
    """Yield each entity of some texts, in order, with the place of its text among them."""
    starts = np.cumsum([0, *(len(it.tokens) for it in texts)])
    is_first, is_last = _word_edges(np.concatenate([it.tokens.words for it in texts]), starts)
    first, last = np.flatnonzero(is_first), np.flatnonzero(is_last)
    scores = logits[first].astype(np.float64)
    path = bio.best_paths(scores, np.searchsorted(first, starts), bio.allowed_transitions(config.labels))
    begins, ends = bio.runs(path, config.labels)
    named, probabilities = np.flatnonzero(path != config.labels.index(bio.OUTSIDE)), np.zeros(len(path))
    probabilities[named] = np.exp(_log_softmax(scores[named])[np.arange(len(named)), path[named]])
    spans = np.concatenate([it.tokens.spans for it in texts])
    places = np.searchsorted(starts, first[begins], side="right") - 1
    # Of each run of words from `begins` to `ends` the sum, and between two of them another.
    sums = np.add.reduceat(np.append(probabilities, 0.0), np.stack([begins, ends], axis=1).ravel())[::2] if len(begins) else begins
    means = np.minimum(sums / (ends - begins), 1.0)
    columns = (places, path[begins], means, spans[first[begins], 0], spans[last[ends - 1], 1])
    for place, label, score, start_char, end_char in zip(*(it.tolist() for it in columns), strict=True):
        text = texts[place].item.text[start_char:end_char]
        yield place, Entity(config.labels[label][2:], text, start_char, end_char, score, config.name)


def _word_edges(words: NDArray[np.int32], starts: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which tokens are the first pieces of words, and which the last; texts start at `starts`, and no word spans two."""
    is_edge = np.ones(len(words) + 1, dtype=bool)
    is_edge[1:-1] = words[1:] != words[:-1]
    is_edge[starts] = True
    return is_edge[:-1] & (words >= 0), is_edge[1:] & (words >= 0)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalized
