"""Losses of heads, one number for each row. Pure.

Label smoothing gives a share of the probability to all labels equally (Szegedy et al., "Rethinking the Inception Architecture",
2016). The loss of a conditional random field is that of whole texts: the negative logarithm of the probability of the
true path among all valid paths (Lafferty, McCallum and Pereira, 2001).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from worker.model.heads.heads import in_context
from worker.model.outputs import bio

if TYPE_CHECKING:
    from torch import Tensor

    from worker.model.heads.head_config import HeadConfig
    from worker.model.heads.heads import Head

#: The target of a word without a known label, which has no loss.
UNKNOWN = -100
# The score of an impossible label. It is finite: the gradient of minus infinity is NaN.
_NEVER = -1e4


def compute_row_loss(config: HeadConfig, logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the loss of each row, `[n]`, of a classification head from its logits, `[n, logits]`.

    Targets are indices of labels, int64 `[n]`; of two classes, probabilities of the second, `[n]`; of a multi-label head, 0, 1 or
    a probability for each label, `[n, labels]`.
    """
    if config.is_multi_label:
        return multi_label(logits, targets, smoothing=smoothing)
    if config.is_binary:
        return binary(logits[:, 0], targets, smoothing=smoothing)
    return multi_class(logits, targets, smoothing=smoothing)


def compute_word_loss(head: Head, logits: Tensor, targets: Tensor, starts: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the losses of an entity head from the logits of concatenated texts `[words, num_logits]` with `starts` `[n + 1]`.

    The result has a loss for each word, `[words]`, 0 for an `UNKNOWN` target; with a CRF for each text, `[n]`.
    """
    scores = in_context(logits, starts, len(head.config.labels))
    if head.transitions is None:
        return multi_class(scores, targets, smoothing=smoothing)
    allowed = torch.from_numpy(bio.allowed_transitions(head.config.labels)).to(scores.device)
    return crf(scores, targets, starts, head.transitions.masked_fill(~allowed, _NEVER))


def binary(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of logits `[n]` with the probabilities `[n]` of the second class."""
    smoothed = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")


def multi_class(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of logits `[n, labels]` with indices of labels `[n]`; 0 for `UNKNOWN`."""
    return functional.cross_entropy(logits, targets, ignore_index=UNKNOWN, label_smoothing=smoothing, reduction="none")


def multi_label(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return of logits `[n, labels]` the mean over the labels of their binary cross-entropies with targets `[n, labels]`."""
    return binary(logits, targets, smoothing=smoothing).mean(dim=1)


def crf(scores: Tensor, targets: Tensor, starts: Tensor, transitions: Tensor) -> Tensor:
    """Return the negative log-likelihood of each text's path, `[n]`, from the scores `[words, labels]` of its words.

    `transitions`, `[labels + 1, labels]`, are scores of a label after another; the last row is the start of a text. An `UNKNOWN`
    word may have any label: the numerator sums over all of them.
    """
    is_other = (targets[:, None] != torch.arange(scores.shape[1], device=scores.device)) & (targets[:, None] != UNKNOWN)
    return _log_total(scores, starts, transitions) - _log_total(scores.masked_fill(is_other, _NEVER), starts, transitions)


def _log_total(scores: Tensor, starts: Tensor, transitions: Tensor) -> Tensor:
    """Return the logarithm of the sum over all paths of each text, `[n]`; 0 for a text without words."""
    lengths = starts.diff()
    order = lengths.argsort(descending=True, stable=True)
    firsts, lengths = starts[:-1][order], lengths[order]
    # The number of texts with a word at each index; the texts are sorted by length.
    nums = (lengths[None] > torch.arange(int(lengths.max()) if len(lengths) else 0, device=starts.device)[:, None]).sum(1).tolist()
    total, ended = scores.new_zeros(0, scores.shape[1]), []
    for place, num in enumerate(nums):
        words = scores[firsts[:num] + place]
        ended.append(total[num:])
        total = words + (transitions[-1] if place == 0 else (total[:num, :, None] + transitions[:-1]).logsumexp(1))
    sums = torch.cat([total, *reversed(ended)]).logsumexp(1)
    found = scores.new_zeros(len(order))
    return found.index_put((order[: len(sums)],), sums)
