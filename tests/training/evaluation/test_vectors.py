"""What is left of similarities: all of them where nothing changed, none where everything did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.training.evaluation.bootstrap import wilson
from worker.training.evaluation.vectors import _correlation, _ranks, cosines, retention


def vectors(num_texts: int, seed: int) -> Any:
    """Return some vectors."""
    return np.random.default_rng(seed).normal(size=(num_texts, 6)).astype(np.float32)


def test_the_same_vectors_keep_everything() -> None:
    """Turned and stretched, they are the same."""
    before = vectors(40, 0)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    found = retention(before, (3 * before @ turned).astype(np.float32))
    assert list(found) == ["Pearson", "Spearman", "top-1 overlap", "top-10 overlap"]
    for name, it in found.items():
        assert it.value == pytest.approx(1, abs=1e-6)
        if name.startswith("top-"):
            assert (it.low, it.high) == wilson(1, 40)
        else:
            assert np.isnan(it.low) or it.low == pytest.approx(1, abs=1e-6)


def test_other_vectors_keep_what_chance_leaves() -> None:
    """No correlation, and the overlap of chance; the interval holds them."""
    found = retention(vectors(200, 0), vectors(200, 1))
    for name, chance in (("Pearson", 0), ("Spearman", 0), ("top-1 overlap", 1 / 199), ("top-10 overlap", 10 / 199)):
        assert found[name].value == pytest.approx(chance, abs=0.03)
        assert found[name].low <= found[name].value <= found[name].high


def test_few_texts_have_few_neighbours() -> None:
    """Ten nearest of five others are not asked for."""
    assert list(retention(vectors(5, 0), vectors(5, 1))) == ["Pearson", "Spearman", "top-1 overlap"]


@settings(max_examples=50)
@given(num_texts=st.integers(3, 12), seed=st.integers(0, 1000))
def test_correlations_are_over_pairs_and_a_copy_is_no_pair(num_texts: int, seed: int) -> None:
    """Under texts that were drawn again, too."""
    one, other = cosines(vectors(num_texts, seed)), cosines(vectors(num_texts, seed + 1))
    weights = np.random.default_rng(seed).integers(0, 3, size=num_texts)
    weights[:3] += 1
    again = np.repeat(np.arange(num_texts), weights)
    pairs = [(a, b) for n, a in enumerate(again) for b in again[:n] if a != b]
    rows, columns = np.array(pairs).T
    expected = np.corrcoef(one[rows, columns], other[rows, columns])[0, 1]
    # Copies of one text share a value with each other text, and are left out against each other.
    assert _correlation(one, other)(weights[None].astype(np.float64))[0] == pytest.approx(expected, abs=1e-8)


@settings(max_examples=50, deadline=None)
@given(num_texts=st.integers(3, 12), seed=st.integers(0, 1000))
def test_the_correlations_are_scipys(num_texts: int, seed: int) -> None:
    """With equal values among them."""
    stats: Any = pytest.importorskip("scipy.stats")
    one, other = (cosines(vectors(num_texts, it)).round(1) for it in (seed, seed + 1))
    pairs = np.triu_indices(num_texts, 1)
    once = np.ones((1, num_texts))
    if np.ptp(one[pairs]) and np.ptp(other[pairs]):
        assert _correlation(one, other)(once)[0] == pytest.approx(stats.pearsonr(one[pairs], other[pairs])[0], abs=1e-8)
        spearman = stats.spearmanr(one[pairs], other[pairs])[0]
        assert _correlation(_ranks(one), _ranks(other))(once)[0] == pytest.approx(spearman, abs=1e-8)
