"""The words of tokenized texts, and their BIO labels. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worker.model.outputs import bio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from worker.records import Tokens
    from worker.training.data.examples import TaggedText


def find_first_pieces(tokens: Tokens) -> NDArray[np.intp]:
    """Return the index of the first word piece of each word."""
    return np.flatnonzero((tokens.words >= 0) & (np.diff(tokens.words, prepend=-1) != 0))


def align_word_labels(tagged: TaggedText, starts: Sequence[int]) -> list[str]:
    """Return the BIO label of each word; `starts` are the first characters of the words."""
    labels = [bio.OUTSIDE] * len(starts)
    for span in tagged.spans:
        inside = [number for number, start in enumerate(starts) if span.start <= start < span.end]
        for number in inside:
            labels[number] = f"{'B' if number == inside[0] else 'I'}-{span.type}"
    return labels


def mark_handles(text: str, starts: Sequence[int]) -> NDArray[np.bool_]:
    """Return whether each word is the `@` or the name of a handle."""
    return np.array(["@" in text[max(0, start - 1) : start + 1] for start in starts], dtype=bool)
