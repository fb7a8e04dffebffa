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
    """Return the valid path with the highest sum of `scores` (logits or log-probabilities, shape `[words, labels]`)."""
    return best_paths(scores, np.array([0, len(scores)]), allowed)


def best_paths(scores: NDArray[np.float64], starts: NDArray[np.int64], allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the best valid paths of some texts, end to end, from the scores of their words; texts start at `starts`, `[n + 1]`.

    What begins an entity or stands outside may follow anything: there a text can be cut, and only pieces that are not valid as
    they come are decoded, all at once. A piece that would rather begin inside, as the one before it might allow, is joined to that.
    """
    path: NDArray[np.intp] = scores.argmax(axis=1)
    before = np.concatenate([[-1], path])
    before[starts] = -1
    wrong = np.flatnonzero(~allowed[before[:-1], path])
    if not len(wrong):
        return path
    may_begin, is_start = allowed[-1], np.zeros(len(path) + 1, dtype=bool)
    is_start[starts] = True
    is_cut = is_start | np.append(may_begin[path], True)
    while True:
        cuts = np.flatnonzero(is_cut)
        pieces = np.searchsorted(cuts, wrong, side="right") - 1
        pieces = pieces[np.diff(pieces, prepend=-1) > 0]
        firsts = cuts[pieces]
        decoded = _decode(scores, firsts, cuts[pieces + 1], ~is_start[firsts, None] | may_begin, allowed)
        hanging = [first for first, found in zip(firsts.tolist(), decoded, strict=True) if not may_begin[found[0]]]
        if not hanging:
            break
        is_cut[hanging] = False
    for first, found in zip(firsts.tolist(), decoded, strict=True):
        path[first : first + len(found)] = found
    return path


def _decode(
    scores: NDArray[np.float64],
    firsts: NDArray[np.int64],
    ends: NDArray[np.int64],
    may_begin: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
) -> list[NDArray[np.intp]]:
    """Return the best valid paths of some runs of words, all at once; `may_begin`, `[runs, labels]`: what each may begin with."""
    lengths = ends - firsts
    places = np.arange(lengths.max())
    of_runs = scores[np.minimum(firsts[:, None] + places, len(scores) - 1)]  # [runs, words, labels]
    # What may follow anything follows the shorter runs, and costs nothing.
    of_runs[places >= lengths[:, None]] = np.where(np.arange(scores.shape[1]) == allowed.all(axis=0).argmax(), 0.0, -np.inf)
    ban = np.where(allowed[:-1], 0.0, -np.inf)
    total = np.where(may_begin, of_runs[:, 0], -np.inf)
    came_from = []
    for words in of_runs.transpose(1, 0, 2)[1:]:
        routes = total[:, :, None] + ban  # [runs, from, to]
        came_from.append(routes.argmax(axis=1))
        total = routes.max(axis=1) + words
    backwards = [total.argmax(axis=1)]
    for origin in reversed(came_from):
        backwards.append(origin[np.arange(len(origin)), backwards[-1]])
    return [path[:length] for path, length in zip(np.stack(backwards[::-1], axis=1), lengths.tolist(), strict=True)]


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
