"""The loss of an encoding in a nearest-neighbour search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.encodings import NUM_NEIGHBOURS, measure_loss

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def vectors(count: int, seed: int) -> Vectors:
    """Return random unit vectors."""
    drawn = np.random.default_rng(seed).normal(size=(count, 24)).astype(np.float32)
    unit: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


@given(st.integers(2, 300), st.integers(0, 99), st.floats(0.01, 100))
def test_exact_vectors_lose_nothing(count: int, seed: int, scale: float) -> None:
    """A common factor of all vectors does not change a cosine."""
    exact = vectors(count, seed)
    found = measure_loss(exact, exact * np.float32(scale))
    assert found["recall"] == pytest.approx(1, abs=0.02)
    assert found["recall_of_candidates"] == 1
    assert found["max_cosine_error"] < 1e-5


@given(st.integers(120, 160), st.integers(0, 99), st.integers(0, 99))
def test_recall_is_the_share_of_the_exact_neighbours(count: int, seed: int, other: int) -> None:
    """A vector is not its own neighbour, and more candidates have a higher recall."""
    exact, decoded = vectors(count, seed), np.sign(vectors(count, seed) + vectors(count, 1000 + other))
    unit = decoded / np.linalg.norm(decoded, axis=1, keepdims=True)
    true, near = exact @ exact.T, unit @ unit.T
    errors = np.abs(true - near)[~np.eye(count, dtype=bool)]
    found = measure_loss(exact, decoded)
    assert found["mean_cosine_error"] == pytest.approx(float(errors.mean()), rel=1e-4)
    assert found["max_cosine_error"] == pytest.approx(float(errors.max()), rel=1e-4)
    assert 0 <= found["recall"] <= found["recall_of_candidates"] <= 1


def test_two_exchanged_vectors_lose_their_neighbours() -> None:
    """In two groups of eleven, the two find none of their ten neighbours, and each other vector finds nine."""
    groups = np.repeat(np.eye(2, dtype=np.float32), NUM_NEIGHBOURS + 1, axis=0)
    changed = groups.copy()
    changed[[0, -1]] = groups[[-1, 0]]
    found = measure_loss(groups, changed)
    assert found["recall"] == pytest.approx(20 * 0.9 / 22)
    assert (found["recall_of_candidates"], found["max_cosine_error"]) == (1, 1)
