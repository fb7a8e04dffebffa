"""The batches of an epoch: shared out among tasks as asked, and each text once before any is there twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training.config import Training
from worker.training.learning.sampling import compute_exponent, count_batches, draw_batches, share_batches

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=4)


@given(SIZES, st.integers(1, 33), st.sampled_from([1.0, 0.5, 0.2]))
def test_every_task_gets_its_quota_and_at_least_one(sizes: list[int], batch_texts: int, exponent: float) -> None:
    """The shares add up to an epoch, plus at most one batch for each small task."""
    total = count_batches(sizes, batch_texts)
    shares = share_batches(sizes, total, exponent)
    assert min(shares) >= 1
    assert total <= sum(shares) < total + len(sizes)


@given(SIZES, st.integers(1, 33), st.sampled_from([1.0, 0.5]), st.integers(0, 9))
def test_no_text_is_there_twice_before_all_are_there_once(sizes: list[int], batch_texts: int, exponent: float, seed: int) -> None:
    """Within an epoch this holds for each task, and no batch is empty or too large."""
    sides = [np.arange(size) * 3 for size in sizes]
    found = draw_batches(
        sides, count_batches(sizes, batch_texts), batch_texts=batch_texts, exponent=exponent, generator=np.random.default_rng(seed)
    )
    for number, side in enumerate(sides):
        own = [texts for task, texts in found if task == number]
        assert all(0 < len(one) <= batch_texts for one in own)
        counts = np.bincount(np.concatenate(own), minlength=int(side[-1]) + 1)[side]
        assert counts.max() - counts.min() <= 1


def test_an_epoch_of_one_task_has_each_text_once() -> None:
    """The generator determines the order."""
    side = np.arange(10)
    first, other = (draw_batches([side], 3, batch_texts=4, exponent=1, generator=np.random.default_rng(seed)) for seed in (0, 1))
    assert sorted(np.concatenate([texts for _, texts in first]).tolist()) == side.tolist()
    assert [entry.tolist() for _, entry in first] != [entry.tolist() for _, entry in other]


@pytest.mark.parametrize(
    ("training", "share"),
    [
        (Training(), 0.1),
        (Training(sampling="square-root"), 0.25),
        (Training(sampling="temperature", sampling_temperature=1), 0.1),
        (Training(sampling="temperature", sampling_temperature=1000), 0.5),
    ],
)
def test_the_scarce_task_is_seen_as_often_as_was_asked(training: Training, share: float) -> None:
    """The share is proportional to the size, to its square root, or nearly equal for both tasks."""
    many, few = share_batches([900, 100], 100, compute_exponent(training))
    assert few / (many + few) == pytest.approx(share, abs=0.011)
