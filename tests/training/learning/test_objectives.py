"""Losses and scores of all kinds of heads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.outputs import bio
from worker.training.learning.losses import UNKNOWN
from worker.training.learning.objectives import HeadOutputs, compute_mean_loss, loss, score

pytestmark = pytest.mark.model
LABELS = bio.bio_labels(["PER", "LOC"])


def head(labels: tuple[str, ...] = ("no", "yes"), **options: Any) -> Head:
    """Return a head that classifies, or as the options say."""
    return Head(HeadConfig(**{"name": "h", "task": "classify", "labels": labels, "layers": (0,), **options}), 4)


def value(of: Head, logits: Any, targets: Any, *, smoothing: float = 0.0) -> float:
    """Return the loss of a text's rows."""
    starts = torch.tensor([0, len(logits)])
    return float(loss(of, torch.tensor(logits), torch.tensor(targets), starts, smoothing=smoothing).detach())


def test_the_loss_of_two_classes_takes_certainty() -> None:
    """A target may be a probability; smoothing changes both classes."""
    assert value(head(), [[0.0]], [0.9]) == pytest.approx(math.log(2))
    sure, soft = (value(head(), [[2.0]], [1], smoothing=own_value) for own_value in (0.0, 0.2))
    assert sure == pytest.approx(math.log1p(math.exp(-2)))
    assert soft == pytest.approx(0.9 * sure + 0.1 * (sure + 2))


@pytest.mark.parametrize("has_crf", [False, True])
def test_nothing_is_learned_from_what_is_unknown(has_crf: bool) -> None:  # noqa: FBT001
    """Without any known label the loss is 0 and not NaN."""
    ner = head(LABELS, task="ner", has_crf=has_crf)
    logits = torch.randn(3, 5, requires_grad=True)
    nothing = loss(ner, logits, torch.full((3,), UNKNOWN), torch.tensor([0, 3]))
    nothing.backward()  # type: ignore[no-untyped-call]
    assert float(nothing.detach()) == pytest.approx(0, abs=1e-5)
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == pytest.approx(0, abs=1e-5)
    known = value(head(LABELS, task="ner"), logits[:1].tolist(), [0])
    assert value(head(LABELS, task="ner"), logits.tolist(), [0, UNKNOWN, UNKNOWN]) == pytest.approx(known)


def test_the_score_of_labels_is_their_accuracy() -> None:
    """Two classes are decided by the sign, more by the largest logit; multi-label heads have micro F1."""
    said = HeadOutputs(
        np.array([[1.0], [-1.0], [3.0]], dtype=np.float32), np.array([0.9, 0.4, 0.2], dtype=np.float32), np.arange(4)
    )
    assert score(head(), said) == pytest.approx(2 / 3)
    many = head(("a", "b", "c"))
    assert score(many, HeadOutputs(np.eye(3, dtype=np.float32), np.array([0, 1, 1]), np.arange(4))) == pytest.approx(2 / 3)
    several = head(("a", "b", "c"), is_multi_label=True, threshold=0.6)
    logits = np.array([[1.0, 0.3, -1.0], [1.0, -1.0, 1.0]], dtype=np.float32)
    gold = np.array([[1, 1, 0], [1, 0, 0]], dtype=np.float32)
    assert score(several, HeadOutputs(logits, gold, np.arange(3))) == pytest.approx(2 * 2 / (3 + 3))


def said_of_words(path: list[str], gold: list[str], starts: list[int]) -> HeadOutputs:
    """Return what a head says that is sure of a path."""
    logits = np.full((len(path), len(LABELS)), -5, dtype=np.float32)
    logits[np.arange(len(path)), [LABELS.index(label) for label in path]] = 5
    targets = np.array([UNKNOWN if entry == "?" else LABELS.index(entry) for entry in gold])
    return HeadOutputs(logits, targets, np.array(starts))


def test_the_score_of_entities_is_f1_of_whole_ones() -> None:
    """Span and type count, entities end with their text, and unknown labels are ignored."""
    ner, right = head(LABELS, task="ner"), ["B-PER", "I-PER", "O", "B-LOC"]
    assert score(ner, said_of_words(right, right, [0, 4])) == 1
    assert score(ner, said_of_words(["B-PER", "O", "O", "B-LOC"], right, [0, 4])) == pytest.approx(0.5)
    assert score(ner, said_of_words(["B-PER", "B-PER", "O", "B-LOC"], ["B-PER", "B-PER", "?", "?"], [0, 1, 4])) == 1
    assert score(ner, said_of_words(["O", "O"], ["O", "O"], [0, 2])) == 0


def test_learned_transitions_decide_the_score() -> None:
    """The transitions of a CRF head determine the scored path."""
    field = head(LABELS, task="ner", has_crf=True)
    assert field.transitions is not None
    said = said_of_words(["B-PER", "O"], ["B-PER", "I-PER"], [0, 2])
    assert score(field, said) == 0
    with torch.no_grad():
        field.transitions[LABELS.index("B-PER"), LABELS.index("I-PER")] = 100
    assert score(field, said) == 1


def test_the_loss_on_dev_is_the_same_loss() -> None:
    said = said_of_words(["O"], ["O"], [0, 1])
    assert compute_mean_loss(head(LABELS, task="ner"), said) == pytest.approx(math.log1p(4 * math.exp(-10)), rel=1e-3)
