"""Named entities as labels of words, and back: begin, inside, outside. Pure.

A path of labels is valid where `I-X` follows only `B-X` or `I-X`. The best valid path is found exactly (Viterbi with no scores but
the words' own and a ban on what is not valid); most paths are valid as they come, and cost nothing more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

OUTSIDE = "O"


def labels_of(types: Sequence[str]) -> tuple[str, ...]:
    """Return the labels for some entity types: `O`, then `B-X` and `I-X` of each."""
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


@lru_cache
def allowed_transitions(labels: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which label may follow which, bool, shape `[labels + 1, labels]`; the last row is the start of a text."""
    before = [*labels, OUTSIDE]
    return np.array([[not it.startswith("I-") or previous[1:] == it[1:] for it in labels] for previous in before])


def best_path(scores: NDArray[np.float64], allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the valid path with the highest sum of `scores` (log-probabilities, shape `[words, labels]`)."""
    path: NDArray[np.intp] = scores.argmax(axis=1)
    if not len(path) or allowed[np.concatenate([[-1], path[:-1]]), path].all():
        return path
    ban = np.where(allowed, 0.0, -np.inf)
    total = ban[-1] + scores[0]
    came_from = []
    for word in scores[1:]:
        routes = total[:, None] + ban[:-1]  # [from, to]
        came_from.append(routes.argmax(axis=0))
        total = routes.max(axis=0) + word
    backwards = [int(total.argmax())]
    for origin in reversed(came_from):
        backwards.append(int(origin[backwards[-1]]))
    return np.array(backwards[::-1])


def best_paths(scores: NDArray[np.float64], starts: NDArray[np.int64], allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the best valid paths of some texts, end to end, from the scores of their words; texts start at `starts`, `[n + 1]`."""
    path: NDArray[np.intp] = scores.argmax(axis=1)
    before = np.concatenate([[-1], path])
    before[starts] = -1
    wrong = np.flatnonzero(~allowed[before[:-1], path])
    for text in np.unique(np.searchsorted(starts, wrong, side="right") - 1).tolist():
        own = slice(starts[text], starts[text + 1])
        path[own] = best_path(scores[own], allowed)
    return path


def runs(path: NDArray[np.intp], labels: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first word and the word after the last of each entity of valid paths, end to end: none of them begins inside."""
    is_begin, is_inside = (np.array([it.startswith(prefix) for it in labels])[path] for prefix in ("B-", "I-"))
    begins, closes = np.flatnonzero(is_begin), np.flatnonzero(np.append(~is_inside, True))
    return begins, closes[np.searchsorted(closes, begins, side="right")]


def entities(path: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the type, the first word and the word after the last of each entity of a valid path."""
    start = None
    for index, label in enumerate([*path, OUTSIDE]):
        if start is not None and not label.startswith("I-"):
            yield path[start][2:], start, index
            start = None
        if label.startswith("B-"):
            start = index
