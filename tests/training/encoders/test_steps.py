"""What training an encoder needs: sides, steps, a rate, a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.encoders import SENTENCES, small_teacher
from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.training.encoders import steps as encoders
from worker.training.encoders.distill import measure_agreement
from worker.training.encoders.steps import StepOptions, plan_steps, split_texts
from worker.training.learning.sampling import compute_rate_factor

if TYPE_CHECKING:
    from pathlib import Path


def test_the_same_words_are_never_on_both_sides() -> None:
    """Each text is kept once without blank texts, and its side does not depend on the other texts."""
    train, held_out = split_texts([*SENTENCES, *map(str.upper, SENTENCES), *SENTENCES, " "])
    assert sorted([*train, *held_out]) == sorted({*SENTENCES, *map(str.upper, SENTENCES)})
    assert {text.lower() for text in train}.isdisjoint(text.lower() for text in held_out)
    assert set(split_texts(SENTENCES)[1]) <= set(held_out)
    with pytest.raises(BadSettings, match="2 different texts are too few"):
        split_texts(["a", "b", "a"])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(0, 100))
def test_each_epoch_reads_each_text_once(lengths: list[int], seed: int) -> None:
    """A step has at most `max_batch_tokens` unless one text is longer, and `max_steps` limits the steps."""
    options = StepOptions(epochs=2, max_batch_tokens=40, seed=seed)
    steps = plan_steps(lengths, options)
    assert sorted(np.concatenate(steps).tolist()) == sorted([*range(len(lengths)), *range(len(lengths))])
    assert all(len(step) == 1 or sum(lengths[n] for n in step) <= 40 for step in steps)
    assert len(plan_steps(lengths, StepOptions(max_batch_tokens=1, max_steps=1))) == 1


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_rate_rises_and_falls(num_steps: int, warm_up: float) -> None:
    """The learning rate stays between 0 and 1."""
    rates = [compute_rate_factor(number, num_steps=num_steps, warm_up=warm_up) for number in range(num_steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.model
def test_the_written_encoder_equals_the_original(tmp_path: Path, minilm: Path) -> None:
    """The loaded encoder has the written pooling and limits, and existing directories are not overwritten."""
    directory = small_teacher(tmp_path, minilm, num_layers=1)
    first = checkpoint.load(str(directory))
    assert first.max_tokens == 64
    assert checkpoint.build_encoder(str(directory)).directory == directory
    checkpoint.save(tmp_path / "heads", name="h", encoder_reference=str(directory), heads=[], training={}, card="")
    assert checkpoint.build_encoder(str(tmp_path / "heads")).directory == directory
    with pytest.raises(BadSettings, match="something already"):
        encoders.check_output(tmp_path / "heads", source=str(directory), is_forced=False)
    with pytest.raises(BadSettings, match="what is learned from"):
        encoders.check_output(directory, source=str(tmp_path / "heads"), is_forced=True)
    encoders.check_output(tmp_path / "heads", source=str(directory), is_forced=True)
    encoders.check_output(tmp_path / "new", source=str(directory), is_forced=False)


def test_vectors_are_alike_or_not() -> None:
    """Scaled vectors agree fully; narrower vectors are compared by their similarities only."""
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    same = measure_agreement(vectors, 2 * vectors)
    assert same.mean_cosine == pytest.approx(1)
    assert same.spearman == pytest.approx(1)
    assert same.top_10_overlap == pytest.approx(1)
    narrow = measure_agreement(vectors, vectors[:, :4])
    assert narrow.mean_cosine is None
    assert 0 < narrow.spearman < 1
    assert measure_agreement(vectors[:5], vectors[:5]).top_10_overlap is None
