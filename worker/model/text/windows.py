"""Cut long texts into overlapping windows, and merge the outputs of the windows into the outputs of the text. Pure.

A text longer than the model's limit is cut into the fewest windows that hold the text. All windows have about the same length, so
that only the overlaps are computed twice. Each window is a sequence between special tokens, and begins with the prompt if there is
one. The vector of the text is the mean of the windows' vectors. The output of each token is taken from one window: the seam lies in
the middle of an overlap, so that no token is read at an edge without its neighbours. Entities are decoded once, in the whole text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import astuple, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from worker.records import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from worker.records import Prediction, Tokens

# The opening and the closing special token of a sequence.
_NUM_SPECIAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowing:
    """How a long text is cut into windows."""

    #: The number of tokens that two consecutive windows share; a little less where a window is moved to the start of a word.
    overlap_tokens: int
    #: The maximum number of windows of a text; tokens after the last window are truncated.
    max_windows: int

    def fits(self, max_tokens: int) -> bool:
        """Tell whether windows of `max_tokens` tokens can overlap like this: by half of what they hold at most."""
        return 2 * self.overlap_tokens <= max_tokens - _NUM_SPECIAL

    def max_seq_length(self, max_tokens: int) -> int:
        """Return the longest text, special tokens included, that windows of `max_tokens` tokens hold."""
        return self.max_windows * (max_tokens - _NUM_SPECIAL - self.overlap_tokens) + self.overlap_tokens + _NUM_SPECIAL

    def plan(
        self, words: NDArray[np.int32], max_tokens: int, _sentence_ends: NDArray[np.bool_] | None = None
    ) -> tuple[Window, ...]:
        """Cut a text of more than `max_tokens` tokens into windows of at most `max_tokens`; `words` are those of `Tokens`."""
        overlap, num_shared = self.overlap_tokens, len(words) - _NUM_SPECIAL - self.overlap_tokens
        num_windows = -(-num_shared // (max_tokens - _NUM_SPECIAL - overlap))
        cuts = [1 + number * num_shared // num_windows for number in range(num_windows + 1)]
        # Moved by less than half an overlap, the two edges of an overlap cannot pass each other.
        begins, slack = np.flatnonzero(np.diff(words, prepend=-1)).tolist(), (overlap - 1) // 2
        starts = [1, *(_next_or_same(begins, cut, slack) for cut in cuts[1:-1])]
        ends = [*(_last_or_same(begins, cut + overlap, slack) for cut in cuts[1:-1]), len(words) - 1]
        seams = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends, strict=False)), len(words)]
        return tuple(Window(start, end, *read) for start, end, read in zip(starts, ends, pairwise(seams), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How a long text is cut into chunks that do not overlap. A chunk ends with a sentence where possible, else with a word."""

    #: The maximum number of full chunks of a text; tokens after them are truncated.
    max_windows: int

    def fits(self, max_tokens: int) -> bool:
        """Return whether chunks of `max_tokens` tokens hold a token of the text."""
        return max_tokens > _NUM_SPECIAL

    def max_seq_length(self, max_tokens: int) -> int:
        """Return the longest text, special tokens included, that full chunks of `max_tokens` tokens hold."""
        return self.max_windows * (max_tokens - _NUM_SPECIAL) + _NUM_SPECIAL

    def plan(self, words: NDArray[np.int32], max_tokens: int, sentence_ends: NDArray[np.bool_]) -> tuple[Window, ...]:
        """Cut a text of more than `max_tokens` tokens; `sentence_ends` are true for the last token of a sentence.

        A chunk that ends with a sentence or a word is at least half full, so that there are at most twice `max_windows` chunks.
        """
        capacity, last = max_tokens - _NUM_SPECIAL, len(words) - 1
        # The tokens before which a chunk may begin.
        sentences = (np.flatnonzero(sentence_ends[:-1] & (np.diff(words) != 0)) + 1).tolist()
        begins = np.flatnonzero(np.diff(words, prepend=-1)).tolist()
        cuts = [1]
        while last - cuts[-1] > capacity:
            limit = cuts[-1] + capacity
            cut = _last_or_same(sentences, limit, capacity // 2)
            # Without a sentence in the second half the cut is before a word, or inside a very long word.
            is_sentence = bool(sentence_ends[cut - 1]) and words[cut - 1] != words[cut]
            cuts.append(cut if is_sentence else _last_or_same(begins, limit, capacity // 2))
        edges = [*cuts, last]
        seams = [0, *cuts[1:], len(words)]
        return tuple(Window(start, end, *read) for (start, end), read in zip(pairwise(edges), pairwise(seams), strict=True))


LongTexts: TypeAlias = Windowing | Chunking


def plan_windows(
    long_texts: LongTexts, words: NDArray[np.int32], max_tokens: int, sentence_ends: NDArray[np.bool_], num_prompt: int
) -> tuple[Window, ...]:
    """Cut a text of more than `max_tokens` tokens as `plan` does, with room for the `num_prompt` tokens after the opening token."""
    own = np.delete(np.arange(len(words)), np.s_[1 : 1 + num_prompt])
    return tuple(
        Window(*(place + num_prompt if place else 0 for place in astuple(window)))
        for window in long_texts.plan(words[own], max_tokens - num_prompt, sentence_ends[own])
    )


def window_token_ids(texts: Sequence[Tokens]) -> list[NDArray[np.int32]]:
    """Return the sequences that the encoder reads, in order: the ids of each text, or of its windows."""
    if not any(text.windows for text in texts):
        return [text.ids for text in texts]
    return [sequence for text in texts for sequence in (_cut(text) if text.windows else (text.ids,))]


class WindowMerger:
    """Merges the outputs of sequences into the outputs of `n` texts."""

    def __init__(self, texts: Sequence[Tokens], cu_seqlens: NDArray[np.int64]) -> None:
        """Assign the packed sequences, which start at `cu_seqlens`, to their texts."""
        num_each = np.array([len(text.windows) or 1 for text in texts])
        self._first = np.cumsum(num_each) - num_each
        self._is_cut = num_each > 1
        lengths = np.diff(cu_seqlens)
        # The share of each sequence in its text, by tokens; exactly 1 where it is the whole text.
        self._shares = (lengths / np.repeat(np.add.reduceat(lengths, self._first), num_each)).astype(np.float32)[:, None]
        #: For each token of the texts, end to end, the packed token that it is read from.
        self._rows = np.concatenate(
            [_rows(text, cu_seqlens[first:]) for text, first in zip(texts, self._first.tolist(), strict=True)]
        )
        #: Where each text's tokens start, and the end of the last, int64, shape `[n + 1]`.
        self.starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum([len(text) for text in texts])])

    def mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average the values of sequences, `[sequences, width]`, by tokens; return `[n, width]`."""
        averages: NDArray[np.float32] = np.add.reduceat(values * self._shares, self._first, axis=0)
        return averages

    def vectors(self, vectors: NDArray[np.float32], *, is_normalized: bool) -> NDArray[np.float32]:
        """Average sentence vectors `[sequences, H]` by tokens, and normalise those of texts in windows; return `[n, H]`."""
        averages = self.mean(vectors)
        if is_normalized:
            sizes = np.linalg.norm(averages[self._is_cut], axis=1, keepdims=True)
            averages[self._is_cut] /= np.maximum(sizes, np.finfo(np.float32).tiny)
        return averages

    def tokens(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Select from the values of packed tokens, `[T, width]`, one row for each token of the texts, end to end."""
        own: NDArray[np.float32] = values[self._rows]
        return own


def attach_window_vectors(
    texts: Sequence[Tokens], found: list[Prediction], vectors: NDArray[np.float32] | None
) -> list[Prediction]:
    """Return the predictions, those of texts in windows with the vectors of their windows; `vectors` are those of the sequences."""
    if vectors is None:
        return found
    ends = np.cumsum([len(text.windows) or 1 for text in texts]).tolist()
    return [
        replace(prediction, window_vectors=vectors[end - len(text.windows) : end].copy())
        if text.windows and prediction.embedding is not None
        else prediction
        for text, prediction, end in zip(texts, found, ends, strict=True)
    ]


def _next_or_same(begins: list[int], place: int, slack: int) -> int:
    """Return where the next word begins, or `place` where that is further than `slack`."""
    number = bisect_left(begins, place)
    return begins[number] if number < len(begins) and begins[number] - place <= slack else place


def _last_or_same(begins: list[int], place: int, slack: int) -> int:
    """Return where the last word before `place` ends, or `place` where that is further than `slack`."""
    number = bisect_right(begins, place) - 1
    return begins[number] if number >= 0 and place - begins[number] <= slack else place


def _cut(tokens: Tokens) -> list[NDArray[np.int32]]:
    opening, closing = tokens.ids[: 1 + tokens.num_prompt], tokens.ids[-1:]
    return [np.concatenate([opening, tokens.ids[window.start : window.end], closing]) for window in tokens.windows]


def _rows(tokens: Tokens, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the packed tokens that a text's tokens are read from; `starts` are those of its sequences."""
    if not tokens.windows:
        return np.arange(starts[0], starts[1])
    # The opening special token and the prompt are the rows before a window's first token.
    rows = [
        np.arange(window.read_start, window.read_end) - window.start + 1 + tokens.num_prompt + first
        for window, first in zip(tokens.windows, starts, strict=False)
    ]
    return np.concatenate(rows)
