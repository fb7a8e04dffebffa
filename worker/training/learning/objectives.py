"""What a head says of some rows, how wrong that is, and how good: for every kind of head."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from worker.model.heads import attended, in_context
from worker.model.outputs import bio
from worker.training.learning.losses import UNKNOWN, of_rows, of_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.heads import Head
    from worker.training.learning.states import States
    from worker.training.learning.tasks import Targets, TrainingTask


@dataclass(frozen=True, slots=True)
class HeadOutputs:
    """What a head says of the rows of some texts, and what it should say."""

    #: A row for each target, fp32: what tokens say of a text is weighed, what neighbours say of a word added up.
    logits: NDArray[np.float32]
    targets: Targets
    #: Where the words of each text start, `[texts + 1]`; of a head that classifies, its tokens, if it reads them.
    starts: NDArray[np.int64]


def compute_loss(head: Head, rows: Sequence[Tensor], task: TrainingTask, texts: NDArray[np.int64]) -> Tensor:
    """Return the mean loss of a head over the rows of some texts of its task, a scalar with gradients."""
    starts = torch.from_numpy(task.rows(texts)[1])
    logits, targets = _pooled(head, head(rows), starts), torch.from_numpy(task.get_targets(texts))
    return loss(head, logits, targets, starts, smoothing=task.options.label_smoothing)


def _pooled(head: Head, logits: Tensor, starts: Tensor) -> Tensor:
    return attended(logits, starts) if head.config.has_attention else logits


def loss(head: Head, logits: Tensor, targets: Tensor, starts: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean loss over the rows of which something is known, 0 where there is none; texts start at `starts`."""
    if head.config.task == "classify":
        return of_rows(head.config, logits, targets, smoothing=smoothing).mean()
    # Of a field the losses are those of whole texts: divided by words they weigh as much as others do.
    return of_words(head, logits, targets, starts, smoothing=smoothing).sum() / (targets != UNKNOWN).sum().clamp(min=1)


@torch.no_grad()
def run_head(head: Head, states: States, task: TrainingTask, texts: NDArray[np.int64], *, batch_texts: int = 256) -> HeadOutputs:
    """Return what a head says of some texts, nothing hidden."""
    head.eval()
    logits = [head(states.of(task, texts[number : number + batch_texts])).float() for number in range(0, len(texts), batch_texts)]
    starts = task.rows(texts)[1]
    whole = _pooled(head, torch.cat(logits), torch.from_numpy(starts))
    if head.config.task == "ner":
        whole = in_context(whole, torch.from_numpy(starts), len(head.config.labels))
    return HeadOutputs(whole.numpy(), task.get_targets(texts), starts)


@torch.no_grad()
def loss_on(head: Head, said: HeadOutputs) -> float:
    """Return the mean loss of what a head said."""
    return float(loss(head, torch.from_numpy(said.logits), torch.from_numpy(said.targets), torch.from_numpy(said.starts)))


def score(head: Head, said: HeadOutputs) -> float:
    """Return how good a head is: the share of right labels, or F1 of labels where there are several, or of whole entities."""
    if head.config.task == "ner":
        return _entity_f1(head, said)
    if head.config.is_multi_label:
        found, gold = said.logits > np.log(head.config.threshold / (1 - head.config.threshold)), said.targets > 0.5  # noqa: PLR2004
        return 2 * int((found & gold).sum()) / max(1, int(found.sum() + gold.sum()))
    chosen = said.logits[:, 0] > 0 if head.config.is_binary else said.logits.argmax(axis=1)
    return float((chosen == np.rint(said.targets)).mean())


def _entity_f1(head: Head, said: HeadOutputs) -> float:
    labels = head.config.labels
    outside = labels.index(bio.OUTSIDE)
    transitions = None if head.transitions is None else head.transitions.detach().double().numpy()
    found = bio.best_paths(said.logits.astype(np.float64), said.starts, bio.allowed_transitions(labels), transitions)
    # What is unknown is nobody's: neither found there nor missed there.
    gold = np.where(said.targets == UNKNOWN, outside, said.targets).astype(np.intp)
    found = np.where(said.targets == UNKNOWN, outside, found)
    gold_entities, found_entities = (_entities(labels, path, said.starts) for path in (gold, found))
    return 2 * len(gold_entities & found_entities) / max(1, len(gold_entities) + len(found_entities))


def _entities(labels: tuple[str, ...], path: NDArray[np.intp], starts: NDArray[np.int64]) -> set[tuple[str, int, int]]:
    names = [labels[label] for label in path.tolist()]
    return {
        (kind, first + begin, first + end)
        for first, last in pairwise(starts.tolist())
        for kind, begin, end in bio.entities(names[first:last])
    }
