"""Combining marks: code points that belong to the character before them, such as the accent of a decomposed "\u00e9". Pure."""

from __future__ import annotations

import unicodedata


def pass_marks(text: str, end: int, limit: int | None = None) -> int:
    """Return where the combining marks end that follow `end` in `text`; at most `limit`, the end of the text by default.

    A tokenizer that strips accents leaves the marks out of its tokens, so that the end of a token may lie within a character.
    """
    limit = len(text) if limit is None else limit
    # Mn, Mc and Me: marks that take no room, some room, or enclose the character.
    while end < limit and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return end
