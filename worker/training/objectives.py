"""What a head says of some rows, how wrong that is, and how good: the one place that knows the kinds of heads.

The loss of logistic regression takes the probability of the second label for its target, or the index of the label; all others are
cross-entropies of the label's index, in which a share of the certainty may go to the other labels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from worker.model import bio
from worker.training.tasks import UNTOLD

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.heads import Head, HeadConfig
    from worker.training.states import States
    from worker.training.tasks import Targets, TrainingTask


@dataclass(frozen=True, slots=True)
class Said:
    """What a head says of the rows of some texts, and what it should say."""

    #: `[rows, num_logits]`, fp32.
    logits: NDArray[np.float32]
    targets: Targets
    #: Where the rows of each text start, `[texts + 1]`.
    starts: NDArray[np.int64]


def loss_of(head: Head, states: States, task: TrainingTask, texts: NDArray[np.int64]) -> Tensor:
    """Return the mean loss of a head over some texts of its task, a scalar with gradients."""
    rows, _ = task.rows(texts)
    logits = head(states.of(task, texts))
    return loss(logits, torch.from_numpy(task.targets[rows]), smoothing=task.options.label_smoothing)


def loss(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean loss of logits `[rows, num_logits]`; 0 where nothing is told of any row."""
    if logits.shape[1] == 1:
        wanted = targets.float() * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits[:, 0], wanted)
    is_told = targets != UNTOLD
    if not bool(is_told.any()):
        return logits.sum() * 0
    return functional.cross_entropy(logits, targets, ignore_index=UNTOLD, label_smoothing=smoothing)


@torch.no_grad()
def said_of(head: Head, states: States, task: TrainingTask, texts: NDArray[np.int64], *, batch_texts: int = 256) -> Said:
    """Return what a head says of some texts, nothing hidden."""
    head.eval()
    logits = [head(states.of(task, texts[it : it + batch_texts])).float() for it in range(0, len(texts), batch_texts)]
    rows, starts = task.rows(texts)
    return Said(torch.cat(logits).numpy(), task.targets[rows], starts)


def loss_on(said: Said) -> float:
    """Return the mean loss of what was said."""
    return float(loss(torch.from_numpy(said.logits), torch.from_numpy(said.targets)))


def score(head: HeadConfig, said: Said) -> float:
    """Return how good a head is: the share of right labels, or F1 of whole entities (span and type both exact)."""
    if head.task == "ner":
        return _entity_f1(head, said)
    found = said.logits[:, 0] > 0 if head.num_logits == 1 else said.logits.argmax(axis=1)
    return float((found == np.rint(said.targets)).mean())


def _entity_f1(head: HeadConfig, said: Said) -> float:
    outside = head.labels.index(bio.OUTSIDE)
    found = bio.best_paths(said.logits.astype(np.float64), said.starts, bio.allowed_transitions(head.labels))
    # What is untold is nobody's: neither found there nor missed there.
    gold = np.where(said.targets == UNTOLD, outside, said.targets).astype(np.intp)
    found = np.where(said.targets == UNTOLD, outside, found)
    pairs = [_entities(head, path, said.starts) for path in (gold, found)]
    return 2 * len(pairs[0] & pairs[1]) / max(1, len(pairs[0]) + len(pairs[1]))


def _entities(head: HeadConfig, path: NDArray[np.intp], starts: NDArray[np.int64]) -> set[tuple[str, int, int]]:
    labels = [head.labels[it] for it in path.tolist()]
    return {
        (kind, int(first) + begin, int(first) + end)
        for first, last in itertools.pairwise(starts)
        for kind, begin, end in bio.entities(labels[first:last])
    }
