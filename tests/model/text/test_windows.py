"""Windows: all of a text is read, each token from one window, and what is said of windows becomes what is said of the text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.text.packing import pack
from worker.model.text.windows import Chunking, Windowing, WindowMerger, window_token_ids
from worker.records import Tokens, Window

# What a window holds at least, in tokens of the text; and by how many it overlaps, in hundredths of what is possible.
SIZES = st.integers(2, 40)
SHARES = st.integers(0, 100)


def build_words(lengths: list[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the word of each token for words of some numbers of pieces, between special tokens."""
    inner = np.repeat(np.arange(len(lengths)), lengths)
    return np.concatenate([[-1], inner, [-1]]).astype(np.int32)


def build_tokens(words: np.ndarray[Any, np.dtype[np.int32]], windows: tuple[Window, ...] = (), first_id: int = 1000) -> Tokens:
    """Return tokens with an id each."""
    ids = np.arange(first_id, first_id + len(words), dtype=np.int32)
    return Tokens(ids, np.zeros((len(words), 2), dtype=np.int32), words, truncated=False, windows=windows)


@st.composite
def long_texts(draw: st.DrawFn) -> tuple[np.ndarray[Any, np.dtype[np.int32]], int, int, tuple[Window, ...]]:
    """Return the words of a text that does not fit, what is read at once, the overlap, and the windows."""
    size = draw(SIZES)
    overlap = 1 + draw(SHARES) * (size // 2 - 1) // 100
    lengths = draw(st.lists(st.integers(1, 12), min_size=size + 1, max_size=160))
    words = build_words(lengths)
    windows = Windowing(overlap_tokens=overlap, max_windows=1000).plan(words, size + 2)
    return words, size, overlap, windows


@given(long_texts())
def test_every_token_is_read_from_exactly_one_window_that_holds_it(
    text: tuple[np.ndarray[Any, np.dtype[np.int32]], int, int, tuple[Window, ...]],
) -> None:
    """The special tokens from the first and the last."""
    words, _, _, windows = text
    assert [window.read_start for window in windows] == [0, *(window.read_end for window in windows[:-1])]
    assert windows[-1].read_end == len(words)
    for number, window in enumerate(windows):
        assert window.read_start < window.read_end
        assert window.start <= window.read_start + (number == 0)
        assert window.read_end - (number == len(windows) - 1) <= window.end


@given(long_texts())
def test_windows_are_bounded_and_go_forward_and_overlap(
    text: tuple[np.ndarray[Any, np.dtype[np.int32]], int, int, tuple[Window, ...]],
) -> None:
    """By what was asked at most, by one token at least; and there are as few of them as can be."""
    words, size, overlap, windows = text
    assert (windows[0].start, windows[-1].end) == (1, len(words) - 1)
    assert all(0 < window.end - window.start <= size for window in windows)
    for one, other in pairwise(windows):
        assert one.start < other.start
        assert one.end < other.end
        assert 1 <= one.end - other.start <= overlap
    num_windows = len(windows)
    assert (num_windows - 1) * (size - overlap) + overlap < len(words) - 2 <= num_windows * (size - overlap) + overlap


@given(long_texts())
def test_a_token_is_read_where_it_stands_farthest_from_an_edge(
    text: tuple[np.ndarray[Any, np.dtype[np.int32]], int, int, tuple[Window, ...]],
) -> None:
    """Of the two windows that meet, by half a token of rounding."""
    for one, other in pairwise(text[3]):
        for token in range(other.start, one.end):
            to_end, to_start = one.end - token, token + 1 - other.start
            assert (to_end >= to_start - 1) if token < one.read_end else (to_start >= to_end - 1)


@given(long_texts())
def test_a_word_is_not_cut_where_one_begins_nearby(
    text: tuple[np.ndarray[Any, np.dtype[np.int32]], int, int, tuple[Window, ...]],
) -> None:
    """A window begins where a word does, unless a word is longer than half an overlap."""
    words, _, overlap, windows = text
    begins = set(np.flatnonzero(np.diff(words, prepend=-1)).tolist())
    for window in windows[1:]:
        assert window.start in begins or not begins & set(range(window.start, window.start + (overlap - 1) // 2 + 1))
    for window in windows[:-1]:
        assert window.end in begins or not begins & set(range(window.end - (overlap - 1) // 2, window.end + 1))


def test_short_words_are_never_cut() -> None:
    """With the overlap that is the default."""
    words = build_words([1, 3, 2, 5] * 200)
    for window in Windowing(overlap_tokens=32, max_windows=100).plan(words, 256)[1:]:
        assert words[window.start] != words[window.start - 1]


def test_one_token_more_than_fits_makes_two_even_windows() -> None:
    """None of them nearly empty, and little is read twice."""
    windows = Windowing(overlap_tokens=32, max_windows=16).plan(build_words([1] * 255), 256)
    assert [window.end - window.start for window in windows] == [143, 144]


@given(st.integers(3, 600), st.integers(1, 300), st.integers(1, 300))
def test_the_longest_text_fills_the_windows(max_tokens: int, overlap: int, max_windows: int) -> None:
    """And one token more would need another."""
    windowing = Windowing(overlap_tokens=overlap, max_windows=max_windows)
    if not windowing.fits(max_tokens):
        assert 2 * overlap > max_tokens - 2
        return
    longest = windowing.max_seq_length(max_tokens)
    if max_windows > 1:
        assert len(windowing.plan(build_words([1] * (longest - 2)), max_tokens)) == max_windows
        assert len(windowing.plan(build_words([1] * (longest - 1)), max_tokens)) == max_windows + 1
    else:
        assert longest == max_tokens


@given(st.lists(st.one_of(long_texts(), st.integers(1, 9)), min_size=1, max_size=5))
def test_outputs_of_windows_become_outputs_of_texts(drawn: list[Any]) -> None:
    """Each token has its own numbers, a text in windows their mean by tokens, and a text that fits exactly its own."""
    texts = [
        build_tokens(build_words([1] * drawn_text), first_id=1000 * n)
        if isinstance(drawn_text, int)
        else build_tokens(drawn_text[0], drawn_text[3], first_id=1000 * n)
        for n, drawn_text in enumerate(drawn)
    ]
    packed = pack(window_token_ids(texts))
    assert len(packed.ids) == sum(text.weight for text in texts)
    merging = WindowMerger(texts, packed.cu_seqlens)
    assert merging.tokens(packed.ids[:, None].astype(np.float32))[:, 0].tolist() == [
        int(token_id) for text in texts for token_id in text.ids
    ]
    assert merging.starts.tolist() == [0, *np.cumsum([len(text) for text in texts])]
    values = np.random.default_rng(0).normal(size=(len(packed.lengths), 3)).astype(np.float32)
    means, vectors = merging.mean(values), merging.vectors(values, is_normalized=True)
    first = 0
    for number, text in enumerate(texts):
        end = first + (len(text.windows) or 1)
        expected = np.average(values[first:end], axis=0, weights=packed.lengths[first:end])
        np.testing.assert_allclose(means[number], expected, atol=1e-6)
        if text.windows:
            np.testing.assert_allclose(vectors[number], expected / np.linalg.norm(expected), atol=1e-5)
        else:
            assert means[number].tobytes() == vectors[number].tobytes() == values[first].tobytes()
        first = end


def test_vectors_stay_unnormalised_if_the_model_does_not_normalise() -> None:
    """And a vector of zeros is no division by zero."""
    windows = Windowing(overlap_tokens=1, max_windows=2).plan(build_words([1] * 3), 4)
    texts = [build_tokens(build_words([1] * 3), windows)]
    merging = WindowMerger(texts, pack(window_token_ids(texts)).cu_seqlens)
    values = np.array([[2.0, 0.0], [4.0, 0.0]], dtype=np.float32)
    assert merging.vectors(values, is_normalized=False).tolist() == [[3.0, 0.0]]
    assert merging.vectors(values, is_normalized=True).tolist() == [[1.0, 0.0]]
    assert merging.vectors(0 * values, is_normalized=True).tolist() == [[0.0, 0.0]]


def test_a_value_that_is_not_finite_affects_its_own_text_only() -> None:
    """The neighbours' means do not see it."""
    windows = Windowing(overlap_tokens=1, max_windows=2).plan(build_words([1] * 3), 4)
    texts = [build_tokens(build_words([1])), build_tokens(build_words([1] * 3), windows), build_tokens(build_words([1]))]
    merging = WindowMerger(texts, pack(window_token_ids(texts)).cu_seqlens)
    means = merging.mean(np.array([[1.0], [np.nan], [1.0], [1.0]], dtype=np.float32))
    assert np.isnan(means[:, 0]).tolist() == [False, True, False]


@pytest.mark.parametrize(("num_windows", "weight"), [(0, 5), (2, 8)])
def test_a_text_weighs_what_the_pass_pays(num_windows: int, weight: int) -> None:
    """Overlaps and special tokens count each time that they are read."""
    windows = (Window(1, 3, 0, 2), Window(2, 4, 2, 5))[:num_windows]
    assert build_tokens(build_words([1, 1, 1]), windows).weight == weight


@given(
    lengths=st.lists(st.integers(1, 12), min_size=9, max_size=120),
    sentences=st.lists(st.booleans(), min_size=120, max_size=120),
    size=st.integers(2, 8),
)
def test_chunks_cover_the_text_and_end_with_sentences(lengths: list[int], sentences: list[bool], size: int) -> None:
    """Chunks follow each other, are bounded, and end with a sentence if one ends in their second half."""
    words = build_words(lengths)
    last_of_word = np.append(np.diff(words) != 0, np.False_)
    ends = np.array([sentences[word % len(sentences)] for word in words]) & last_of_word & (words >= 0)
    windows = Chunking(max_windows=1000).plan(words, size + 2, ends)
    assert (windows[0].start, windows[-1].end) == (1, len(words) - 1)
    assert [window.start for window in windows[1:]] == [window.end for window in windows[:-1]]
    assert (windows[0].read_start, windows[-1].read_end) == (0, len(words))
    for window in windows[:-1]:
        assert size // 2 <= window.end - window.start <= size
        second_half = range(window.start + size - size // 2, window.start + size + 1)
        if any(ends[place - 1] for place in second_half):
            assert ends[window.end - 1]
        elif any(words[place - 1] != words[place] for place in second_half):
            assert words[window.end - 1] != words[window.end]
