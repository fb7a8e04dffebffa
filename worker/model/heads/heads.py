"""Heads for training: a learned mix of layers, then a linear map or hidden layers (see `head_config`)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from worker.model.heads.head_config import HeadConfig, HeadWeights


class Head(nn.Module):
    """A learned mix of layers, then a linear map or hidden layers."""

    def __init__(self, config: HeadConfig, encoder_size: int) -> None:
        """Build the head with random weights for an encoder of `encoder_size` dimensions."""
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

    @classmethod
    def from_weights(cls, weights: HeadWeights) -> Head:
        """Build a head with a copy of these weights."""
        head = cls(weights.config, len(weights.norm_gain))
        head.load_state_dict({name: torch.tensor(array) for name, array in weights.arrays().items()})
        return head

    def to_weights(self) -> HeadWeights:
        """Return the parameters as arrays."""
        arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in self.state_dict().items()}
        return HeadWeights.read(self.config, len(arrays["norm.bias"]), arrays)

    @torch.no_grad()
    def divide_logits(self, temperature: float) -> None:
        """Divide the logits by a temperature, permanently; the best label, or path of labels, does not change."""
        for parameter in (self.output.weight, self.output.bias):
            # The last output with attention is the token's weight, not a logit.
            parameter[: len(parameter) - self.config.has_attention].div_(temperature)
        if self.transitions is not None:
            self.transitions.div_(temperature)
        self.config = replace(self.config, temperature=self.config.temperature * temperature)


def in_context(logits: Tensor, starts: Tensor, num_labels: int) -> Tensor:
    """Add up the logits of words and of their neighbours: `[words, (1 + 2 * context) * labels]` to `[words, labels]`.

    Words lie end to end, those of each text from one of `starts` (`[n + 1]`) on; no word counts for another text. Of a row the
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
            own, other = slice(first, end), slice(first + offset, end + offset)
            total[own] += part[other] * (texts[own] == texts[other])[:, None]
    return total


def attended(logits: Tensor, starts: Tensor) -> Tensor:
    """Return the logits of texts, `[n, width - 1]`, from those of their tokens, `[T, width]`, of which the last is a weight.

    Tokens lie end to end, those of each text from one of `starts` (`[n + 1]`) on. Weights become a softmax over the text.
    """
    num_texts = len(starts) - 1
    texts = torch.repeat_interleave(torch.arange(num_texts, device=starts.device), starts.diff())
    said, counts = logits[:, :-1], logits[:, -1]
    most = counts.new_full((num_texts,), -torch.inf).scatter_reduce(0, texts, counts.detach(), "amax")
    weights = (counts - most[texts]).exp()
    totals = weights.new_zeros(num_texts).index_add(0, texts, weights)
    return said.new_zeros(num_texts, said.shape[1]).index_add(0, texts, said * (weights / totals[texts])[:, None])
