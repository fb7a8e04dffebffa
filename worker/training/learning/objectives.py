"""Outputs, loss and score of a head, for every kind of head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from worker.model.heads.heads import attended, in_context
from worker.model.outputs import bio
from worker.training.evaluation.spans import compute_f1
from worker.training.learning.losses import UNKNOWN, compute_row_loss, compute_word_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.heads.heads import Head
    from worker.training.learning.states import States
    from worker.training.learning.tasks import Targets, TrainingTask


@dataclass(frozen=True, slots=True)
class HeadOutputs:
    """The outputs of a head for the rows of some texts, and their targets."""

    #: The logits of each target, fp32: pooled over tokens, and with the context of words.
    logits: NDArray[np.float32]
    targets: Targets
    #: The first word of each text (the first token, for a head with attention), `[texts + 1]`.
    starts: NDArray[np.int64]


def compute_loss(head: Head, rows: Sequence[Tensor], task: TrainingTask, texts: NDArray[np.int64]) -> Tensor:
    """Return the mean loss of a head over the rows of some texts of its task, a scalar with gradients."""
    starts = torch.from_numpy(task.rows(texts)[1])
    logits, targets = _pooled(head, head(rows), starts), torch.from_numpy(task.get_targets(texts))
    return loss(head, logits, targets, starts, smoothing=task.options.label_smoothing)


def _pooled(head: Head, logits: Tensor, starts: Tensor) -> Tensor:
    return attended(logits, starts) if head.config.has_attention else logits


def loss(head: Head, logits: Tensor, targets: Tensor, starts: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean loss over the rows with a known target, or 0 if there is none; `starts` are the first rows of texts."""
    if head.config.task == "classify":
        return compute_row_loss(head.config, logits, targets, smoothing=smoothing).mean()
    # The losses of a CRF are those of texts: dividing by words makes them comparable.
    return compute_word_loss(head, logits, targets, starts, smoothing=smoothing).sum() / (targets != UNKNOWN).sum().clamp(min=1)


@torch.no_grad()
def run_head(head: Head, states: States, task: TrainingTask, texts: NDArray[np.int64], *, batch_texts: int = 256) -> HeadOutputs:
    """Return the outputs of a head for some texts, without dropout."""
    head.eval()
    logits = [head(states.read(task, texts[number : number + batch_texts])).float() for number in range(0, len(texts), batch_texts)]
    starts = task.rows(texts)[1]
    whole = _pooled(head, torch.cat(logits), torch.from_numpy(starts))
    if head.config.task == "ner":
        whole = in_context(whole, torch.from_numpy(starts), len(head.config.labels))
    return HeadOutputs(whole.numpy(), task.get_targets(texts), starts)


@torch.no_grad()
def compute_mean_loss(head: Head, outputs: HeadOutputs) -> float:
    """Return the mean loss of a head's outputs."""
    return float(loss(head, torch.from_numpy(outputs.logits), torch.from_numpy(outputs.targets), torch.from_numpy(outputs.starts)))


def score(head: Head, outputs: HeadOutputs) -> float:
    """Return the accuracy of a head; the F1 of a multi-label head or of an entity head."""
    if head.config.task == "ner":
        return _entity_f1(head, outputs)
    if head.config.is_multi_label:
        found, gold = outputs.logits > np.log(head.config.threshold / (1 - head.config.threshold)), outputs.targets > 0.5  # noqa: PLR2004
        return 2 * int((found & gold).sum()) / max(1, int(found.sum() + gold.sum()))
    chosen = outputs.logits[:, 0] > 0 if head.config.is_binary else outputs.logits.argmax(axis=1)
    return float((chosen == np.rint(outputs.targets)).mean())


def _entity_f1(head: Head, outputs: HeadOutputs) -> float:
    labels = head.config.labels
    outside = labels.index(bio.OUTSIDE)
    transitions = None if head.transitions is None else head.transitions.detach().double().numpy()
    found = bio.best_paths(outputs.logits.astype(np.float64), outputs.starts, bio.allowed_transitions(labels), transitions)
    # An entity at an unknown word is neither found nor missed.
    gold = np.where(outputs.targets == UNKNOWN, outside, outputs.targets).astype(np.intp)
    found = np.where(outputs.targets == UNKNOWN, outside, found)
    true, own = (_find_entities(labels, path) for path in (gold, found))
    return compute_f1(len(true & own), len(own), len(true))


def _find_entities(labels: tuple[str, ...], path: NDArray[np.intp]) -> set[tuple[int, int, int]]:
    """Return the entities of concatenated paths: the index of the first label, the first word, and the word after the last."""
    begins, ends = bio.entity_spans(path, labels)
    return set(zip(path[begins].tolist(), begins.tolist(), ends.tolist(), strict=True))
