"""Combining marks belong to the character before them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.outputs.combining_marks import pass_marks


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("e\u0301", 1, 2),
        ("e\u0301\u0323x", 1, 3),
        ("ab", 1, 1),
        ("a", 1, 1),
        ("", 0, 0),
        ("का", 1, 2),
        ("1\u20e3", 1, 2),
        ("❤\ufe0f", 1, 2),
        ("\u0d28\u0d4d\u200d", 1, 3),
        ("\u0928\u200d", 1, 1),
        ("\u200d", 0, 0),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f x", 1, 4),
    ],
)
def test_marks_are_passed(text: str, end: int, expected: int) -> None:
    """Marks of every kind: accents, vowel signs, enclosing marks, variation selectors, joiners after a virama, and tags."""
    assert pass_marks(text, end) == expected
    assert pass_marks(text, end, end) == end


@given(st.text(st.characters(categories=["L"]), min_size=1), st.text(st.characters(categories=["L"])))
def test_a_decomposed_text_ends_where_the_composed_one_does(first: str, rest: str) -> None:
    """The end of a decomposed word is found from the end of its last base character."""
    decomposed = unicodedata.normalize("NFD", first)
    base = len(decomposed) - next(
        n for n, character in enumerate(reversed(decomposed)) if not unicodedata.category(character).startswith("M")
    )
    assert pass_marks(decomposed + rest, base) == len(decomposed)
