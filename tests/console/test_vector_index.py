"""The search for the nearest vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.console.vector_index import VectorIndex


def unit(*numbers: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return a vector."""
    return np.array(numbers, np.float32)


@given(st.integers(0, 40), st.integers(1, 8), st.integers(1, 6))
def test_the_nearest_of_the_newest_vectors_are_found(num_added: int, max_vectors: int, count: int) -> None:
    """The result equals a search through the last vectors by hand."""
    index: VectorIndex[int] = VectorIndex(max_vectors)
    vectors = [unit(np.cos(number), np.sin(number)) for number in range(num_added)]
    for number, vector in enumerate(vectors):
        index.add(number, vector, "m")
    kept = range(max(0, num_added - max_vectors), num_added)
    expected = sorted(kept, key=lambda number: -float(vectors[number] @ unit(1, 0)))[:count]
    assert [key for key, _ in index.nearest(unit(2, 0), model="m", count=count)] == expected
    assert len(index) == len(kept)


def test_only_vectors_of_the_same_model_are_compared() -> None:
    """During a rollout a record finds records of its own model; a text with several vectors counts once."""
    index: VectorIndex[str] = VectorIndex(10)
    for key, vector, model in (
        ("a", unit(1, 0), "old"),
        ("b", unit(1, 0), "new"),
        ("b", unit(0.6, 0.8), "new"),
        ("c", unit(0, 1), "new"),
    ):
        index.add(key, vector, model)
    nearest = index.nearest(unit(1, 0), model="new", count=5)
    assert [(key, round(cosine, 5)) for key, cosine in nearest] == [("b", 1), ("c", 0)]
    found = index.find("a")
    assert found is not None
    assert found[1] == "old"


def test_a_message_of_several_encoders_has_the_vectors_of_each() -> None:
    """The name of the encoder that embeds finds the vectors of messages that name further encoders, and no other vectors."""
    index: VectorIndex[str] = VectorIndex(10)
    index.add("joint", unit(1, 0), "first@1,second@2")
    index.add("other", unit(1, 0), "first@2,second@2")
    assert [key for key, _ in index.nearest(unit(1, 0), model="first@1", count=2)] == ["joint"]


def test_another_number_of_dimensions_starts_the_index_again() -> None:
    """Vectors of a model with other dimensions replace all earlier ones; a query must have the same number."""
    index: VectorIndex[str] = VectorIndex(10)
    index.add("a", unit(1, 0), "old")
    index.add("b", unit(1, 0, 0), "new")
    assert [key for key, _ in index.nearest(unit(1, 0, 0), model="new", count=5)] == ["b"]
    with pytest.raises(ValueError, match="the query has 2 dimensions"):
        index.nearest(unit(1, 0), model="new", count=5)


@pytest.mark.parametrize("vector", [unit(0, 0), unit(np.nan, 1), unit(np.inf, 1)])
def test_a_vector_without_direction_is_left_out(vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    """A vector that has no cosine is no result."""
    index: VectorIndex[str] = VectorIndex(10)
    index.add("a", vector, "m")
    assert index.nearest(unit(1, 0), model="m", count=1) == []


def test_a_vector_of_no_model_does_not_replace_the_others() -> None:
    index: VectorIndex[str] = VectorIndex(10_000)
    index.add("a", unit(1, 0), "m")
    index.add("b", np.ones(20_000, np.float32), "m")
    index.add("c", np.ones((2, 2), np.float32), "m")
    assert (len(index), index.num_dimensions) == (1, 2)
