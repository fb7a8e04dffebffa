"""Tokenize plain ASCII texts without the normaliser of BERT, which takes two fifths of the time of its tokenizer.

In such a text the normaliser only changes letters to lower case, which `str.lower` does, too. Tokens and places are the same.
"""

from __future__ import annotations

import re
from itertools import compress
from typing import TYPE_CHECKING

import tokenizers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence


class PlainTexts:
    """Tokenizes as `backend` does. The model of the tokenizer is shared."""

    def __init__(self, backend: tokenizers.Tokenizer, firsts: frozenset[str]) -> None:
        """Use a tokenizer of `build_plain_texts`, in whose texts no added token begins without a character of `firsts`."""
        self._backend = backend
        self._is_lowercase = bool(backend.normalizer.lowercase)
        self._plain = tokenizers.Tokenizer(backend.model)
        self._plain.pre_tokenizer = backend.pre_tokenizer
        if backend.post_processor is not None:
            self._plain.post_processor = backend.post_processor
        plain = "\t\n\r" + "".join(map(chr, range(ord(" "), ord("~") + 1)))
        self._find_other = re.compile(f"[^{re.escape(''.join(sorted(set(plain) - firsts)))}]").search

    def encode_batch(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """Return the encodings of texts, in order."""
        is_plain = [self._find_other(text) is None for text in texts]
        if not any(is_plain):
            return list(self._backend.encode_batch(texts))
        plain = list(compress(texts, is_plain))
        encodings = self._plain.encode_batch([text.lower() for text in plain] if self._is_lowercase else plain)
        if len(plain) == len(texts):
            return list(encodings)
        others = iter(self._backend.encode_batch([text for text, found in zip(texts, is_plain, strict=True) if not found]))
        known = iter(encodings)
        return [next(known if found else others) for found in is_plain]


def build_plain_texts(backend: tokenizers.Tokenizer) -> PlainTexts | None:
    """Return a faster way for plain texts; None if the tokenizer is not that of BERT, or a letter may begin an added token."""
    is_bert = isinstance(backend.normalizer, BertNormalizer) and isinstance(backend.pre_tokenizer, BertPreTokenizer)
    if not is_bert:
        return None
    contents = [token.content for token in backend.get_added_tokens_decoder().values()]
    # The tokenizer also looks for the normalised form, which lacks the control characters of the token.
    firsts = frozenset(form[:1] for content in contents for form in (content, backend.normalizer.normalize_str(content)))
    is_marked = all(first and first.isascii() and not first.isalnum() and not first.isspace() for first in firsts)
    return PlainTexts(backend, firsts) if is_marked else None
