"""Combining marks: code points that belong to the character before them, such as the accent of a decomposed "\u00e9". Pure."""

from __future__ import annotations

import unicodedata

_JOINER, _VIRAMA_CLASS = "\u200d", 9
# The tags that spell the region of a flag.
_FIRST_TAG, _LAST_TAG = "\U000e0020", "\U000e007f"


def pass_marks(text: str, end: int, limit: int | None = None) -> int:
    """Return where the combining marks end that follow `end` in `text`; at most `limit`, the end of the text by default.

    A tokenizer that strips accents leaves the marks out of its tokens, so that the end of a token may lie within a character. A
    joiner after a virama, as in Malayalam, and the tags of a flag count as marks.
    """
    limit = len(text) if limit is None else limit
    while end < limit and _is_mark(text, end):
        end += 1
    return end


def _is_mark(text: str, at: int) -> bool:
    character = text[at]
    if character == _JOINER:
        return at > 0 and unicodedata.combining(text[at - 1]) == _VIRAMA_CLASS
    # Mn, Mc and Me: marks that take no room, some room, or enclose the character.
    return unicodedata.category(character).startswith("M") or _FIRST_TAG <= character <= _LAST_TAG
