"""Logits of tokens and words, summed over their texts and their neighbours. Without torch; `heads` has the same for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def sum_context(logits: Floats, starts: NDArray[np.int64], num_labels: int) -> Floats:
    """Add up the logits of words and of their neighbours: `[words, (1 + 2 * context) * labels]` to `[words, labels]`.

    Words lie end to end, those of each text from one of `starts` (`[n + 1]`) on; no word counts for another text. Of a row the
    first labels are those of the word `context` places after it, the last those of the word as many before it.
    """
    context = (logits.shape[1] // num_labels - 1) // 2
    if not context:
        return logits
    texts = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    total = np.zeros((len(logits), num_labels), dtype=np.float32)
    parts = logits.reshape(len(logits), 1 + 2 * context, num_labels)
    for number in range(parts.shape[1]):
        offset = number - context
        first, end = max(0, -offset), len(logits) - max(0, offset)
        if first < end:
            own, other = slice(first, end), slice(first + offset, end + offset)
            total[own] += parts[other, number] * (texts[own] == texts[other])[:, None]
    return total


def weigh_tokens(logits: Floats, starts: NDArray[np.int64]) -> Floats:
    """Return the logits of texts, `[n, width - 1]`, from those of their tokens, `[T, width]`, of which the last is a weight.

    Tokens lie end to end, those of each text from one of `starts` (`[n + 1]`) on. Weights become a softmax over the text.
    """
    firsts, lengths = starts[:-1], np.diff(starts)
    weights = np.exp(logits[:, -1] - np.repeat(np.maximum.reduceat(logits[:, -1], firsts), lengths))
    shares = weights / np.repeat(np.add.reduceat(weights, firsts), lengths)
    found: Floats = np.add.reduceat(logits[:, :-1] * shares[:, None], firsts, axis=0)
    return found
