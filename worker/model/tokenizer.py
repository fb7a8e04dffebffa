"""Texts to tokens, with the place of each token in the original text.

The published tokenizer file decides how; what it says of padding and truncation is switched off, because texts are packed without
padding and truncation must be seen. The library works outside the interpreter lock, on a whole list of texts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tokenizers

from worker.errors import BadModel
from worker.records import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.model.windows import Windowing

# A text is cut before it is tokenized to so many characters for each token that the model reads: English has about five.
_CHARS_PER_TOKEN = 32


class Tokenizer:
    """Tokenizes with special tokens.

    A text beyond `max_tokens` keeps its first ones and the closing special token; with `windowing` it is cut into windows of
    `max_tokens`, and keeps what these hold.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, max_tokens: int, windowing: Windowing | None = None) -> None:
        """Take over `backend`; at least two special tokens and one of the text must fit."""
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        # What the model reads at once.
        self._max_tokens = max_tokens
        self._windowing = windowing
        # What it reads of a text.
        self._max_text_tokens = windowing.max_text_tokens(max_tokens) if windowing else max_tokens

    @classmethod
    def read(cls, directory: Path, *, max_tokens: int, windowing: Windowing | None = None) -> Tokenizer:
        """Read a published `tokenizer.json`, or build one from an older `vocab.txt`; raises `BadModel`."""
        path = directory / "tokenizer.json"
        try:
            if path.exists():
                return cls(tokenizers.Tokenizer.from_file(str(path)), max_tokens=max_tokens, windowing=windowing)
            if (directory / "vocab.txt").exists():
                return cls(_from_vocabulary(directory), max_tokens=max_tokens, windowing=windowing)
        except Exception as error:  # the library raises bare Exception for whatever is wrong in the file
            raise BadModel(f"{directory}: its tokenizer cannot be read: {error}") from error
        raise BadModel(f"{directory}: there is neither tokenizer.json nor vocab.txt")

    def encode(self, texts: Sequence[str], *, model: str = "") -> list[Tokens]:
        """Tokenize many texts at once; `model` is whose they are."""
        encodings = self._backend.encode_batch([self._beginning(text) for text in texts])
        return [self._tokens(encoding, text, model) for encoding, text in zip(encodings, texts, strict=True)]

    def id_of(self, token: str) -> int | None:
        """Return the number of a token by its name (`[MASK]`); None where there is none of this name."""
        found: int | None = self._backend.token_to_id(token)
        return found

    def _tokens(self, encoding: tokenizers.Encoding, text: str, model: str) -> Tokens:
        ids, spans, words = encoding.ids, encoding.offsets, encoding.word_ids
        is_truncated = len(ids) > self._max_text_tokens or len(text) > self._max_beginning
        if len(ids) > self._max_text_tokens:
            kept = slice(0, self._max_text_tokens - 1)
            ids, spans, words = ids[kept] + ids[-1:], spans[kept] + spans[-1:], words[kept] + words[-1:]
        word_of = np.array([-1 if word is None else word for word in words], dtype=np.int32)
        return Tokens(
            ids=np.array(ids, dtype=np.int32),
            spans=np.array(spans, dtype=np.int32),
            words=word_of,
            truncated=is_truncated,
            windows=self._windowing.plan(word_of, self._max_tokens) if self._windowing and len(ids) > self._max_tokens else (),
            model=model,
        )

    @property
    def _max_beginning(self) -> int:
        return self._max_text_tokens * _CHARS_PER_TOKEN

    def _beginning(self, text: str) -> str:
        """Return what of a text may be read, so that a megabyte costs no more than a page."""
        return text if len(text) <= self._max_beginning else text[: self._max_beginning]


def _from_vocabulary(directory: Path) -> tokenizers.Tokenizer:
    # Heavy, and needed for old directories only.
    from transformers import AutoTokenizer  # noqa: PLC0415

    backend: tokenizers.Tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True).backend_tokenizer
    return backend
