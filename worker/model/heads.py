"""What is learned on top of the encoder: text classification and named entities.

A head reads a mix of the encoder's layers, because a sentence-tuned encoder's last layer is a poor place to read tokens from. It is
linear (for two labels: logistic regression), or has hidden layers. A text has one label of a head or, where it says so, any number.

An entity head may look at the words around each word: what it makes of a word is read for its neighbours too, so that its last
layer is a convolution over words. And it may know what follows what: a conditional random field, whose transitions are learned.

A head that classifies reads the text's states as they are pooled, or has attention: it reads every token, and learns with what it
makes of each how much that counts ("attention pooling").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from worker.errors import BadModel
from worker.records import Task

_MAX_CONTEXT_WORDS = 4


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
    #: The width of its hidden layers; 0 for a linear head.
    hidden_size: int = 0
    #: How many hidden layers there are, where they have a width. The fastest kernels know one; more are computed by torch.
    num_hidden_layers: int = 1
    #: The share of inputs that training hides.
    dropout: float = 0.0
    #: What its logits were divided by after training, so that its scores are probabilities; its output layer has it in it.
    temperature: float = 1.0
    #: Whether a text has any number of labels (`classify`): each is a question of its own.
    is_multi_label: bool = False
    #: The probability from which a label of several is given.
    threshold: float = 0.5
    #: Whether it reads every token of a text and weighs what each says (`classify`), and not their mean.
    has_attention: bool = False
    #: How many words before and after each word count for it (`ner`).
    context_words: int = 0
    #: Whether it learns which label follows which (`ner`); what is not valid is never given, learned or not.
    has_crf: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be a head."""
        if self.task not in (Task.CLASSIFY, Task.NER):
            raise BadModel(f"the head {self.name!r} has the task {self.task!r}; classify and ner are known")
        if len(set(self.labels)) < (1 if self.is_multi_label else 2) or len(set(self.labels)) < len(self.labels):
            raise BadModel(f"the head {self.name!r} needs at least two labels, all different")
        if not self.layers or min(self.layers) < 0:
            raise BadModel(f"the head {self.name!r} reads no layer of the encoder")
        if self.num_hidden_layers < 1 or not 0 <= self.context_words <= _MAX_CONTEXT_WORDS or not 0 < self.threshold < 1:
            raise BadModel(
                f"the head {self.name!r}: hidden layers are one or more, words of context {_MAX_CONTEXT_WORDS} at most, and a "
                "threshold lies between 0 and 1"
            )
        of_texts, of_words = self.is_multi_label or self.has_attention, self.has_crf or self.context_words
        if (of_texts and self.task != "classify") or (of_words and self.task != "ner"):
            raise BadModel(
                f"the head {self.name!r} has the task {self.task}: several labels and attention are for classify, transitions and "
                "context for ner"
            )

    @property
    def is_binary(self) -> bool:
        """Whether one number says which of two classes a text has (logistic regression)."""
        return self.task == "classify" and len(self.labels) == 2 and not self.is_multi_label  # noqa: PLR2004

    @property
    def reads_tokens(self) -> bool:
        """Whether its rows are tokens, and not texts."""
        return self.task == "ner" or self.has_attention

    @property
    def num_logits(self) -> int:
        """How many numbers the head gives of a row.

        One for two classes, else one for each label; so many for each word of the context; with attention one more, its weight.
        """
        own = 1 if self.is_binary else len(self.labels) * (1 + 2 * self.context_words)
        return own + self.has_attention


class Head(nn.Module):
    """A learned mix of layers, then a linear map or hidden layers."""

    def __init__(self, config: HeadConfig, encoder_size: int) -> None:
        """Build it with random weights for an encoder of `encoder_size` dimensions."""
        super().__init__()
        self.config = config
        self.mix = nn.Parameter(torch.zeros(len(config.layers)))
        self.norm = nn.LayerNorm(encoder_size)
        self.dropout = nn.Dropout(config.dropout)
        width = config.hidden_size or encoder_size
        self.hidden = nn.Linear(encoder_size, width) if config.hidden_size else None
        num_deeper = config.num_hidden_layers - 1 if config.hidden_size else 0
        #: The hidden layers after the first.
        self.deeper = nn.ModuleList(nn.Linear(width, width) for _ in range(num_deeper))
        self.output = nn.Linear(width, config.num_logits)
        num_labels = len(config.labels)
        #: What a label scores after another, `[labels + 1, labels]`, the last row being the start of a text; None without a CRF.
        self.transitions = nn.Parameter(torch.zeros(num_labels + 1, num_labels)) if config.has_crf else None

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
        for layer in (self.hidden, *self.deeper):
            if layer is not None:
                x = self.dropout(nn.functional.gelu(layer(x)))
        logits: Tensor = self.output(x.to(self.output.weight.dtype))
        return logits

    def compute_in(self, dtype: torch.dtype) -> None:
        """Compute in a number format; the last step, which is small, stays in fp32."""
        for layer in (self.norm, self.hidden, self.deeper):
            if layer is not None:
                layer.to(dtype)

    @torch.no_grad()
    def divide_logits(self, temperature: float) -> None:
        """Divide what it says by a temperature, for good; the best label, or path of labels, stays the best."""
        for parameter in (self.output.weight, self.output.bias):
            # How much a token counts is no part of what it says.
            parameter[: len(parameter) - self.config.has_attention].div_(temperature)
        if self.transitions is not None:
            self.transitions.div_(temperature)
        self.config = replace(self.config, temperature=self.config.temperature * temperature)


def in_context(logits: Tensor, starts: Tensor, num_labels: int) -> Tensor:
    """Add up what words say of themselves and of their neighbours: `[words, (1 + 2 * context) * labels]` to `[words, labels]`.

    Words lie end to end, those of each text from one of `starts` (`[n + 1]`) on; no word counts for another text's. Of a row the
    first labels are those of the word `context` places after it, the last those of the word as many before it.
    """
    context = (logits.shape[1] // num_labels - 1) // 2
    if not context:
        return logits
    texts = torch.repeat_interleave(torch.arange(len(starts) - 1, device=starts.device), starts.diff())
    total = torch.zeros(len(logits), num_labels, dtype=logits.dtype, device=logits.device)
    for number, part in enumerate(logits.view(len(logits), 1 + 2 * context, num_labels).unbind(1)):
        offset = number - context
        first, end = max(0, -offset), len(part) - max(0, offset)
        if first < end:
            hears, said = slice(first, end), slice(first + offset, end + offset)
            total[hears] += part[said] * (texts[hears] == texts[said])[:, None]
    return total


def attended(logits: Tensor, starts: Tensor) -> Tensor:
    """Return what texts say, `[n, width - 1]`, of what their tokens say, `[T, width]`, of which the last is how much it counts.

    Tokens lie end to end, those of each text from one of `starts` (`[n + 1]`) on. How much they count is a softmax over the text.
    """
    num_texts = len(starts) - 1
    texts = torch.repeat_interleave(torch.arange(num_texts, device=starts.device), starts.diff())
    said, counts = logits[:, :-1], logits[:, -1]
    most = counts.new_full((num_texts,), -torch.inf).scatter_reduce(0, texts, counts.detach(), "amax")
    weights = (counts - most[texts]).exp()
    totals = weights.new_zeros(num_texts).index_add(0, texts, weights)
    return said.new_zeros(num_texts, said.shape[1]).index_add(0, texts, said * (weights / totals[texts])[:, None])
