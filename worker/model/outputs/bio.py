"""Named entities as labels of words, and back: begin, inside, outside. Pure.

A path of labels is valid where `I-X` follows only `B-X` or `I-X`. The best valid path is found exactly (Viterbi with no scores but
the words' own and a ban on what is not valid); most paths are valid as they come, and cost nothing more.

A conditional random field (Lafferty, McCallum and Pereira, 2001) has learned scores of transitions, too; they have the shape
of the allowed transitions, the last row being the start of a text. Its words' probabilities are those of all valid paths together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

OUTSIDE = "O"


def bio_labels(types: Sequence[str]) -> tuple[str, ...]:
    """Return the labels for some entity types: `O`, then `B-X` and `I-X` of each."""
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


@lru_cache
def allowed_transitions(labels: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which label may follow which, bool, shape `[labels + 1, labels]`; the last row is the start of a text."""
    before = [*labels, OUTSIDE]
    return np.array([[not label.startswith("I-") or previous[1:] == label[1:] for label in labels] for previous in before])


def best_path(
    scores: NDArray[np.float64], allowed: NDArray[np.bool_], transitions: NDArray[np.float64] | None = None
) -> NDArray[np.intp]:
    """Return the valid path with the highest sum of `scores` (logits or log-probabilities, shape `[words, labels]`)."""
    return best_paths(scores, np.array([0, len(scores)]), allowed, transitions)


def best_paths(
    scores: NDArray[np.float64],
    starts: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    transitions: NDArray[np.float64] | None = None,
) -> NDArray[np.intp]:
    """Return the best valid paths of some texts, end to end, from the scores of their words; texts start at `starts`, `[n + 1]`.

    With `transitions`, `[labels + 1, labels]`, the transitions count too. Without, the labels `B-X` and `O` may
    follow any label: a text can be cut there, and only pieces that are not valid as they come are decoded, all at once. A piece
    whose best path begins inside an entity is joined to the piece before it.
    """
    path: NDArray[np.intp] = scores.argmax(axis=1)
    if transitions is not None:
        return _best_in_field(scores, starts, allowed, np.where(allowed, transitions, -np.inf))
    before = np.concatenate([[-1], path])
    before[starts] = -1
    wrong = np.flatnonzero(~allowed[before[:-1], path])
    if not len(wrong):
        return path
    may_begin, is_start = allowed[-1], np.zeros(len(path) + 1, dtype=bool)
    is_start[starts] = True
    is_cut = is_start | np.append(may_begin[path], True)
    links = np.where(allowed[:-1], 0.0, -np.inf)
    while True:
        cuts = np.flatnonzero(is_cut)
        pieces = np.searchsorted(cuts, wrong, side="right") - 1
        pieces = pieces[np.diff(pieces, prepend=-1) > 0]
        firsts = cuts[pieces]
        begins = np.where(~is_start[firsts, None] | may_begin, 0.0, -np.inf)
        decoded = _decode(scores, path, firsts, cuts[pieces + 1], begins, np.zeros((1, len(links))), links)
        hanging = firsts[~may_begin[decoded[firsts]]]
        if not len(hanging):
            return decoded
        is_cut[hanging] = False


def _best_in_field(
    scores: NDArray[np.float64], starts: NDArray[np.int64], allowed: NDArray[np.bool_], links: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return the best paths where what follows what counts; only runs of words between those surely outside are decoded."""
    outside = _outside(allowed)
    path = np.full(len(scores), outside, dtype=np.intp)
    is_open = ~_surely_outside(scores, allowed, links)
    # A run begins where a text does, or after a word that is outside, and ends where a text does, or before such a word.
    is_start = np.zeros(len(scores) + 1, dtype=bool)
    is_start[starts] = True
    was_open = np.append(False, is_open)
    firsts = np.flatnonzero(is_open & (is_start[:-1] | ~was_open[:-1]))
    ends = np.flatnonzero(was_open[1:] & (is_start[1:] | ~np.append(is_open[1:], False))) + 1
    begins = links[np.where(is_start[firsts], len(links) - 1, outside)]
    closes = np.where(is_start[ends, None], 0.0, links[:-1, outside])
    return _decode(scores, path, firsts, ends, begins, closes, links[:-1])


def _surely_outside(scores: NDArray[np.float64], allowed: NDArray[np.bool_], links: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which words are outside in every best path, bool, `[words]`.

    A path with another label for such a word scores less than the path with `O` there, in which an entity that went on after the
    word begins after it: the word's lead is more than what up to three transitions, and the next word's label, could lose by that.
    """
    outside, inner = _outside(allowed), links[:-1]
    others = np.delete(np.arange(scores.shape[1]), outside)
    before = (links - links[:, [outside]])[:, others].max()
    after = (inner[others][:, allowed[outside]] - inner[outside, allowed[outside]]).max()
    # What is lost where the next word is inside an entity, and begins one then.
    going_on = np.full(len(scores) + 1, max(0.0, float(after)))
    for inside in np.flatnonzero(~allowed[-1]):
        begin = next((begin for begin in np.flatnonzero(allowed[:-1, inside]) if allowed[-1, begin]), None)
        if begin is not None:
            beyond = (inner[inside, allowed[inside]] - inner[begin, allowed[inside]]).max()
            lost = inner[:, inside].max() - inner[outside, begin] + max(0.0, float(beyond))
            going_on[:-1] = np.maximum(going_on[:-1], lost + scores[:, inside] - scores[:, begin])
    lead = scores[:, outside] - scores[:, others].max(axis=1)
    # A word at the end of a text has no next one; that of another text only makes it harder.
    surely: NDArray[np.bool_] = lead > max(0.0, float(before)) + going_on[1:]
    return surely


def _outside(allowed: NDArray[np.bool_]) -> int:
    """Return a label that follows anything, and after which comes what may begin a text: `O`."""
    return int(((allowed[:-1] == allowed[-1]).all(axis=1) & allowed.all(axis=0)).argmax())


def _decode(
    scores: NDArray[np.float64],
    path: NDArray[np.intp],
    firsts: NDArray[np.int64],
    ends: NDArray[np.int64],
    begins: NDArray[np.float64],
    closes: NDArray[np.float64],
    links: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Return `path` with the best paths of some runs of words in it, all found at once; no run is empty.

    `begins`, `[runs, labels]`, is added where a run begins, `closes` where it ends, and `links`, `[labels, labels]`, where a label
    follows another.
    """
    found, order = path.copy(), np.argsort(firsts - ends, kind="stable")  # the longest first: the others end one after the other
    firsts, lengths = firsts[order], (ends - firsts)[order]
    if not len(firsts):
        return found
    total = begins[order] + scores[firsts]
    came_from = []
    for place in range(1, int(lengths[0])):
        num = int(np.searchsorted(-lengths, -place))  # the number of longer runs
        routes = total[:num, :, None] + links  # [runs, from, to]
        came_from.append(routes.argmax(axis=1))
        total[:num] = routes.max(axis=1) + scores[firsts[:num] + place]
    labels = (total + (closes if len(closes) == 1 else closes[order])).argmax(axis=1)
    found[firsts + lengths - 1] = labels
    for place, origin in reversed(list(enumerate(came_from))):
        num = len(origin)
        labels[:num] = origin[np.arange(num), labels[:num]]
        found[firsts[:num] + place] = labels[:num]
    return found


def marginals(
    scores: NDArray[np.float64], starts: NDArray[np.int64], allowed: NDArray[np.bool_], transitions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how probable each label of each word is, `[words, labels]`, over all valid paths of its text (forward-backward)."""
    links = np.where(allowed, transitions, -np.inf)
    is_text = np.diff(starts) > 0
    firsts, lengths = starts[:-1][is_text], np.diff(starts)[is_text]
    order = np.argsort(-lengths, kind="stable")
    firsts, lengths = firsts[order], lengths[order]
    forward, backward = scores.copy(), np.zeros_like(scores)
    forward[firsts] += links[-1]
    places = range(1, int(lengths[0]) if len(lengths) else 0)
    nums = [int(np.searchsorted(-lengths, -place)) for place in places]
    for place, num in zip(places, nums, strict=True):
        own = firsts[:num] + place
        forward[own] += np.logaddexp.reduce(forward[own - 1][:, :, None] + links[:-1], axis=1)
    for place, num in zip(reversed(places), reversed(nums), strict=True):
        own = firsts[:num] + place
        backward[own - 1] = np.logaddexp.reduce(links[:-1] + (scores[own] + backward[own])[:, None, :], axis=2)
    total = forward + backward
    odds: NDArray[np.float64] = np.exp(total - total.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    return odds


def certain_margin(allowed: NDArray[np.bool_], transitions: NDArray[np.float64], outside: int) -> float:
    """Return how far `O` must lead at every word of a text to be the best path under all transitions.

    A run of `k` words that are not outside changes `k + 1` transitions, at most twice as many as words, each by no more than the
    best transition is above that between two words outside.
    """
    gain = transitions[allowed].max() - min(transitions[outside, outside], transitions[-1, outside])
    return 2 * max(float(gain), 0.0)


def entity_spans(path: NDArray[np.intp], labels: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first word and the word after the last of each entity of valid paths, end to end: none of them begins inside."""
    is_begin, is_inside = (np.array([label.startswith(prefix) for label in labels])[path] for prefix in ("B-", "I-"))
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
