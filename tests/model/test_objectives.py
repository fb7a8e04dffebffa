"""Losses and scores of all kinds of heads."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from worker.model import bio
from worker.model.heads import HeadConfig
from worker.training.objectives import Said, loss, loss_on, score
from worker.training.tasks import UNTOLD

BINARY = HeadConfig(name="b", task="classify", labels=("no", "yes"), layers=(0,))
NER = HeadConfig(name="n", task="ner", labels=bio.labels_of(["PER", "LOC"]), layers=(0,))


def test_the_loss_of_two_classes_takes_certainty() -> None:
    """A probability as a target is learned as one; half is half, whatever the smoothing."""
    logits = torch.tensor([[0.0], [2.0]])
    assert float(loss(logits[:1], torch.tensor([0.9]))) == pytest.approx(math.log(2))
    sure, soft = (float(loss(logits[1:], torch.tensor([1]), smoothing=it)) for it in (0.0, 0.2))
    assert sure == pytest.approx(math.log1p(math.exp(-2)))
    assert soft == pytest.approx(0.9 * sure + 0.1 * (sure + 2))


def test_nothing_is_learned_from_what_is_untold() -> None:
    """Nor does it become NaN where nothing is told at all."""
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 5.0, 0.0]], requires_grad=True)
    told = float(loss(logits[:1], torch.tensor([0])).detach())
    assert float(loss(logits, torch.tensor([0, UNTOLD])).detach()) == pytest.approx(told)
    nothing = loss(logits, torch.tensor([UNTOLD, UNTOLD]))
    nothing.backward()  # type: ignore[no-untyped-call]
    assert float(nothing.detach()) == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_the_score_of_labels_is_their_accuracy() -> None:
    """Of two classes by the sign, of more by the largest."""
    said = Said(np.array([[1.0], [-1.0], [3.0]], dtype=np.float32), np.array([0.9, 0.4, 0.2], dtype=np.float32), np.arange(4))
    assert score(BINARY, said) == pytest.approx(2 / 3)
    many = HeadConfig(name="m", task="classify", labels=("a", "b", "c"), layers=(0,))
    assert score(many, Said(np.eye(3, dtype=np.float32), np.array([0, 1, 1]), np.arange(4))) == pytest.approx(2 / 3)


def said_of_words(path: list[str], gold: list[str], starts: list[int]) -> Said:
    """Return what a head says that is sure of a path."""
    logits = np.full((len(path), len(NER.labels)), -5, dtype=np.float32)
    logits[np.arange(len(path)), [NER.labels.index(it) for it in path]] = 5
    targets = np.array([UNTOLD if it == "?" else NER.labels.index(it) for it in gold])
    return Said(logits, targets, np.array(starts))


def test_the_score_of_entities_is_f1_of_whole_ones() -> None:
    """Span and type both count; an entity does not reach into the next text; what is untold is nobody's."""
    right = ["B-PER", "I-PER", "O", "B-LOC"]
    assert score(NER, said_of_words(right, right, [0, 4])) == 1
    assert score(NER, said_of_words(["B-PER", "O", "O", "B-LOC"], right, [0, 4])) == pytest.approx(0.5)
    assert score(NER, said_of_words(["B-PER", "B-PER", "O", "B-LOC"], ["B-PER", "B-PER", "?", "?"], [0, 1, 4])) == 1
    assert score(NER, said_of_words(["O", "O"], ["O", "O"], [0, 2])) == 0


def test_the_loss_on_dev_is_the_same_loss() -> None:
    """Of what was said."""
    said = said_of_words(["O"], ["O"], [0, 1])
    assert loss_on(said) == pytest.approx(math.log1p(4 * math.exp(-10)), rel=1e-3)
