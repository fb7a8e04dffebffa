"""Similarity of sentence vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from worker.training.evaluation.bootstrap import wilson
from worker.training.evaluation.vectors import build_correlation, compare_vectors, cosines, rank_pairs


def draw_vectors(num_texts: int, seed: int) -> Any:
    """Return random vectors."""
    return np.random.default_rng(seed).normal(size=(num_texts, 6)).astype(np.float32)


def test_rotated_and_scaled_vectors_are_the_same() -> None:
    """All figures are 1, and the overlaps have Wilson's interval."""
    before = draw_vectors(40, 0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    found = compare_vectors(before, (3 * before @ rotation).astype(np.float32))
    assert list(found) == ["Pearson", "Spearman", "top-1 overlap", "top-10 overlap"]
    for name, figure in found.items():
        assert figure.value == pytest.approx(1, abs=1e-6)
        if name.startswith("top-"):
            assert (figure.low, figure.high) == wilson(1, 40)
        else:
            assert np.isnan(figure.low) or figure.low == pytest.approx(1, abs=1e-6)


def test_unrelated_vectors_have_the_figures_of_chance() -> None:
    """Each figure is close to chance and within its interval."""
    found = compare_vectors(draw_vectors(200, 0), draw_vectors(200, 1))
    for name, chance in (("Pearson", 0), ("Spearman", 0), ("top-1 overlap", 1 / 199), ("top-10 overlap", 10 / 199)):
        assert found[name].value == pytest.approx(chance, abs=0.03)
        assert found[name].low <= found[name].value <= found[name].high


def test_five_texts_have_no_ten_neighbours() -> None:
    """Only the nearest neighbour is compared."""
    assert list(compare_vectors(draw_vectors(5, 0), draw_vectors(5, 1))) == ["Pearson", "Spearman", "top-1 overlap"]


@settings(max_examples=50, deadline=None)
@given(num_texts=st.integers(3, 12), seed=st.integers(0, 1000))
def test_two_copies_of_a_text_are_no_pair(num_texts: int, seed: int) -> None:
    """The correlation of a draw is over all pairs of different texts, weighted by how often each is drawn."""
    first, second = cosines(draw_vectors(num_texts, seed)), cosines(draw_vectors(num_texts, seed + 1))
    drawn = np.concatenate([np.arange(3), np.random.default_rng(seed).integers(num_texts, size=num_texts)])
    pairs = [(one, other) for number, one in enumerate(drawn) for other in drawn[:number] if one != other]
    rows, columns = np.array(pairs).T
    expected = np.corrcoef(first[rows, columns], second[rows, columns])[0, 1]
    statistic = build_correlation(first, second)
    assert statistic(drawn) == pytest.approx(expected, abs=1e-8)
    assert statistic(np.stack([drawn, drawn])).shape == (2,)


@settings(max_examples=50, deadline=None)
@given(num_texts=st.integers(3, 12), seed=st.integers(0, 1000))
def test_equal_values_share_a_rank(num_texts: int, seed: int) -> None:
    """The correlation of ranks is Spearman's."""
    first, second = (cosines(draw_vectors(num_texts, number)).round(1) for number in (seed, seed + 1))
    pairs, texts = np.triu_indices(num_texts, 1), np.arange(num_texts)
    if np.ptp(first[pairs]) and np.ptp(second[pairs]):
        found = build_correlation(rank_pairs(first), rank_pairs(second))(texts)
        assert found == pytest.approx(stats.spearmanr(first[pairs], second[pairs])[0], abs=1e-8)
