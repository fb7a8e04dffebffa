"""Words of a text by the tokens of any tokenizer."""

from __future__ import annotations

import pytest

from worker.model.outputs.text_words import find_words


def split(text: str, *spans: tuple[int, int]) -> list[str]:
    """Return the characters of the words of some tokens."""
    return [text[word.start : word.end] for word in find_words(text, spans, [0] * len(spans))]


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("Paris, now", [(0, 3), (3, 5), (5, 6), (6, 10)], ["Paris", ",", "now"]),
        ("Paris, now", [(0, 6), (6, 10)], ["Paris", "now"]),
        ("Paris, now", [(0, 3), (3, 6), (6, 10)], ["Paris", "now"]),
        ("in (Rome)", [(0, 2), (2, 4), (4, 8), (8, 9)], ["in", "(", "Rome", ")"]),
        ("O'Neil", [(0, 1), (1, 2), (2, 6)], ["O", "'", "Neil"]),
        ("it's", [(0, 2), (2, 4)], ["it", "'s"]),
        ("abc123", [(0, 3), (3, 6)], ["abc123"]),
        ("北京市", [(0, 2), (2, 3)], ["北京", "市"]),
        ("in øre", [(0, 2), (3, 4), (3, 4), (4, 6)], ["in", "øre"]),
        ("a  \n b", [(0, 1), (1, 4), (4, 6)], ["a", "b"]),
        ("e\u0301t", [(0, 1), (1, 3)], ["e\u0301t"]),
        ("...", [(0, 2), (2, 3)], ["..", "."]),
    ],
)
def test_words_are_those_of_the_text(text: str, spans: list[tuple[int, int]], expected: list[str]) -> None:
    """White space and punctuation separate words, wherever the tokens begin and end."""
    assert split(text, *spans) == expected


def test_special_tokens_are_no_words() -> None:
    """Their number of a word is negative."""
    assert find_words("a b", [(0, 0), (0, 1), (2, 3), (0, 0)], [-1, 0, 1, -1]) == [(1, 0, 1), (2, 2, 3)]
