"""Words of a text, for every tokenizer: runs of characters without white space and punctuation, as BERT splits a text. Pure.

A tokenizer that splits at white space only has one word for "Paris,". An entity must not have the comma.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Tokenizers of bytes keep "'s" together.
_APOSTROPHES = "'\u2019"
_ASCII_PUNCTUATION = frozenset(chr(code) for code in range(33, 127) if not chr(code).isalnum())
# The blocks of Chinese characters, of which each is a word.
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class TextWord(NamedTuple):
    """A word that tokens make up."""

    #: The first token of the word.
    token: int
    #: The index of the first character.
    start: int
    #: The index after the last character.
    end: int


def find_words(text: str, spans: Sequence[Sequence[int]], words: Sequence[int]) -> list[TextWord]:
    """Return the words of a text by its tokens: `spans` in the text, and `words` below 0 for special tokens.

    A token belongs to the word of the token before it if no word begins at its first character. White space at the edges of a token
    belongs to no word, nor does punctuation at the edges of a token that has other characters, too.
    """
    found: list[TextWord] = []
    for token, ((start, end), word) in enumerate(zip(spans, words, strict=True)):
        if word < 0:
            continue
        first, last = _strip_space(text, start, end)
        if first == last:
            continue
        # Several tokens may share a character, each with some of its bytes.
        is_inside = bool(found) and (first < found[-1].end or not (is_apart(text[first - 1]) or is_apart(text[first])))
        first, last = _strip_punctuation(text, first, last)
        if is_inside:
            found[-1] = found[-1]._replace(end=max(found[-1].end, last))
        else:
            found.append(TextWord(token, first, last))
    return found


def _strip_space(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _strip_punctuation(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without punctuation at its edges; an apostrophe may begin it. A span of punctuation alone stays."""
    first, last = start, end
    while first < last and is_punctuation(text[first]) and text[first] not in _APOSTROPHES:
        first += 1
    while first < last and is_punctuation(text[last - 1]):
        last -= 1
    return (first, last) if first < last else (start, end)


@lru_cache(maxsize=4096)
def is_apart(character: str) -> bool:
    """Tell whether a character belongs to no word of several characters: white space, punctuation and Chinese characters."""
    code = ord(character)
    return character.isspace() or is_punctuation(character) or any(first <= code <= last for first, last in _CHINESE)


@lru_cache(maxsize=4096)
def is_punctuation(character: str) -> bool:
    """Tell whether a character is punctuation: that of Unicode, and every mark of ASCII."""
    return character in _ASCII_PUNCTUATION or unicodedata.category(character).startswith("P")
