"""Losses of each kind of head, against the plainest way to compute them."""

from __future__ import annotations

import itertools
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.outputs.bio import allowed_transitions, bio_labels, marginals
from worker.training.learning import losses

LABELS = bio_labels(["PER"])
SMOOTHINGS = pytest.mark.parametrize("smoothing", [0.0, 0.2])


def brute_force(scores: torch.Tensor, targets: list[int], transitions: torch.Tensor) -> float:
    """Return the negative log-likelihood of one text's path by counting every path there is."""

    def total(path: tuple[int, ...]) -> float:
        steps = zip((-1, *path), path, strict=False)
        return sum(float(transitions[one, two]) for one, two in steps) + sum(
            float(scores[n, label]) for n, label in enumerate(path)
        )

    def fits(path: tuple[int, ...]) -> bool:
        return all(target in (label, losses.UNKNOWN) for label, target in zip(path, targets, strict=True))

    paths = list(itertools.product(range(scores.shape[1]), repeat=len(targets)))
    every, fitting = (np.logaddexp.reduce([total(entry) for entry in some]) for some in (paths, list(filter(fits, paths))))
    return float(every - fitting)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_a_path_is_as_likely_as_among_all_paths(lengths: list[int], seed: int) -> None:
    """The loss equals a brute-force sum over all paths, for any text lengths and with unknown labels."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.tensor([0, *itertools.accumulate(lengths)])
    scores = torch.randn(sum(lengths), 3, generator=generator, dtype=torch.float64)
    transitions = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 3, (sum(lengths),), generator=generator)
    targets[targets < 0] = losses.UNKNOWN
    found = losses.crf(scores, targets, starts, transitions)
    expected = [brute_force(scores[one:end], targets[one:end].tolist(), transitions) for one, end in pairwise(starts.tolist())]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


@given(seed=st.integers(0, 1000))
def test_the_gradient_is_what_is_expected_less_what_is_true(seed: int) -> None:
    """The gradient is the marginal probabilities of the serving code minus the true labels."""
    generator = torch.Generator().manual_seed(seed)
    starts, targets = torch.tensor([0, 3, 3, 5]), torch.tensor([0, 1, 2, 1, 2])
    head = Head(HeadConfig(name="ner", task="ner", labels=LABELS, layers=(1,), has_crf=True), 4)
    assert head.transitions is not None
    torch.nn.init.normal_(head.transitions, generator=generator)
    scores = torch.randn(5, 3, generator=generator, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.compute_word_loss(head, scores, targets, starts).sum(), scores)
    transitions = head.transitions.detach().double().numpy()
    expected = marginals(scores.detach().double().numpy(), starts.numpy(), allowed_transitions(LABELS), transitions)
    np.testing.assert_allclose(gradient.numpy(), expected - np.eye(3)[targets.numpy()], atol=1e-4)


@SMOOTHINGS
def test_each_kind_has_its_cross_entropy(smoothing: float) -> None:
    """Label smoothing mixes the true labels with the uniform distribution."""
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    several = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    soft = several * (1 - smoothing) + smoothing / 2
    one_by_one = -(soft * functional.logsigmoid(logits) + (1 - soft) * functional.logsigmoid(-logits))

    def config(num_labels: int, *, is_multi_label: bool = False) -> HeadConfig:
        labels = tuple("abc"[:num_labels])
        return HeadConfig(name="s", task="classify", labels=labels, layers=(1,), is_multi_label=is_multi_label)

    found = losses.compute_row_loss(config(3, is_multi_label=True), logits, several, smoothing=smoothing)
    torch.testing.assert_close(found, one_by_one.mean(1))
    found = losses.compute_row_loss(config(2), logits[:, :1], several[:, 0], smoothing=smoothing)
    torch.testing.assert_close(found, one_by_one[:, 0])
    wanted = torch.tensor([[1.0, 0, 0], [0, 0, 1]]) * (1 - smoothing) + smoothing / 3
    found = losses.compute_row_loss(config(3), logits, torch.tensor([0, 2]), smoothing=smoothing)
    torch.testing.assert_close(found, -(wanted * logits.log_softmax(1)).sum(1))


def test_nothing_is_learned_from_a_word_that_nobody_knows() -> None:
    """A word with an unknown label has no loss; the others are judged with their context words."""
    head = Head(HeadConfig(name="ner", task="ner", labels=LABELS, layers=(1,), context_words=1), 4)
    logits = torch.randn(2, 9)
    found = losses.compute_word_loss(head, logits, torch.tensor([losses.UNKNOWN, 1]), torch.tensor([0, 2]))
    assert found[0] == 0
    torch.testing.assert_close(found[1], functional.cross_entropy(logits[1, 3:6] + logits[0, :3], torch.tensor(1)))
