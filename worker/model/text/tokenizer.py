"""Texts to tokens, with the place of each token in the original text.

The published tokenizer file decides how; its padding and truncation are switched off, because texts are packed without
padding and truncation must be seen. The library works outside the interpreter lock, on a whole list of texts at once.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from worker.errors import BadModel
from worker.model.checkpoint.tokenizer_files import build_tokenizer
from worker.model.text.plain_texts import build_plain_texts
from worker.model.text.windows import plan_windows
from worker.records import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tokenizers
    from numpy.typing import NDArray

    from worker.model.text.windows import LongTexts
    from worker.records import Window

# Of a long text a beginning of this many characters for each token that the model reads is tokenized first: English has about five.
# Where the beginning holds too few tokens (spaces, one endless word), a beginning that is longer by the factor is tokenized.
_CHARS_PER_TOKEN = 32
_GROWTH = 4
# The opening and the closing special token of a sequence.
_NUM_SPECIAL = 2
# The last characters of a sentence: those that white space follows, as in "e.g. 3.14", and those of scripts without spaces.
_SENTENCE_ENDS, _WIDE_SENTENCE_ENDS = frozenset(".!?\u2026\u0964\u061f"), frozenset("\u3002\uff01\uff1f\uff61")


class Tokenizer:
    """Tokenizes with special tokens.

    A text beyond `max_tokens` keeps its first ones and the closing special token; with `windowing` it is cut into windows of
    `max_tokens`, and keeps what these hold. With a `prompt`, the tokens of the prompt come before those of the text and of each
    window, belong to no word and have no place in the text.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, *, max_tokens: int, windowing: LongTexts | None = None, prompt: str = ""
    ) -> None:
        """Take over `backend`; at least two special tokens and one of the text must fit."""
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._encode_batch = plain.encode_batch if (plain := build_plain_texts(backend)) else backend.encode_batch
        # The longest token that may hold several words, such as `[MASK]`, in characters.
        self._longest_added = max((len(token.content) for token in backend.get_added_tokens_decoder().values()), default=0)
        # The mark of a space that a tokenizer puts before a text: it has no place in the text.
        self._space = backend.token_to_id("\u2581")
        # What the model reads at once.
        self._max_tokens = max_tokens
        self._windowing = windowing
        self.use_prompt(prompt)

    @classmethod
    def read(
        cls,
        directory: Path,
        *,
        max_tokens: int,
        windowing: LongTexts | None = None,
        is_lowercased: bool = False,
        prompt: str = "",
    ) -> Tokenizer:
        """Read the tokenizer of a published directory, as `build_tokenizer` does; raises `BadModel`, also for too long a prompt."""
        backend = build_tokenizer(directory, is_lowercased=is_lowercased)
        found = cls(backend, max_tokens=max_tokens, windowing=windowing, prompt=prompt)
        found.check_prompt(f"{directory}: ")
        return found

    def use_prompt(self, prompt: str) -> None:
        """Read `prompt` before each text; an empty one for none."""
        #: The characters before each text; empty for none.
        self.prompt = prompt
        #: The most tokens of the prompt before a text. The last of them may merge with the text.
        self.num_prompt = len(self._backend.encode(prompt).ids) - _NUM_SPECIAL if prompt else 0
        # The tokens of a text with its prompt that the model reads, in all windows.
        self._max_text_tokens = self._max_tokens
        if self._windowing:
            self._max_text_tokens = self._windowing.max_seq_length(self._max_tokens - self.num_prompt) + self.num_prompt

    def check_prompt(self, place: str = "") -> None:
        """Raise `BadModel` if the prompt leaves too little of the text, or of each window; `place` begins the message."""
        if self.prompt and (size := self.num_prompt + _NUM_SPECIAL) >= self._max_tokens:
            raise BadModel(f"{place}the prompt has {size} tokens, and a text with its prompt at most {self._max_tokens}")
        if self._windowing and not self._windowing.fits(longest := self._max_tokens - self.num_prompt):
            after = " after the prompt" * bool(self.prompt)
            raise BadModel(
                f"{place}windows of {longest} tokens{after} overlap by at most half of what they hold, {longest // 2 - 1}"
            )

    def with_prompt(self, prompt: str) -> Tokenizer:
        """Return a tokenizer with another prompt; raises `BadModel` as `check_prompt` does."""
        copied = copy.copy(self)
        copied.use_prompt(prompt)
        copied.check_prompt()
        return copied

    def equals(self, other: Tokenizer) -> bool:
        """Return whether both make the same tokens of every text."""
        backends = {"_backend": "", "_encode_batch": ""}
        return vars(self) | backends == vars(other) | backends and self._backend.to_str() == other._backend.to_str()

    def check_ids(self, directory: Path, vocab_size: int) -> None:
        """Raise `BadModel` where a token's id is beyond the encoder's vocabulary; `directory` is theirs."""
        token, number = max(self._backend.get_vocab(with_added_tokens=True).items(), key=lambda pair: pair[1], default=("", -1))
        number = max([number, *self._backend.encode("").ids])
        if number >= vocab_size:
            raise BadModel(
                f"{directory}: the tokenizer has the token {token!r} with the id {number}, and the encoder has {vocab_size} "
                "tokens: the two are of different models"
            )

    def encode(self, texts: Sequence[str], *, model: str = "") -> list[Tokens]:
        """Tokenize many texts at once; `model` is whose they are.

        A megabyte of words costs no more than a page: only as much of a text is tokenized as the tokens that are kept depend on.
        """
        if self.prompt:
            texts = [self.prompt + text for text in texts]
        found: dict[int, Tokens] = {}
        places, num_chars = list(range(len(texts))), self._max_text_tokens * _CHARS_PER_TOKEN
        while places:
            encodings = dict(zip(places, self._encode_batch([texts[place][:num_chars] for place in places]), strict=True))
            places = [
                place for place in places if len(texts[place]) > num_chars and not self._is_enough(encodings[place], num_chars)
            ]
            found |= {place: self._tokens(encoding, model) for place, encoding in encodings.items()}
            num_chars *= _GROWTH
        return [found[place] for place in range(len(texts))]

    def _is_enough(self, encoding: tokenizers.Encoding, num_chars: int) -> bool:
        """Tell whether the tokens that are kept of the first characters of a text are those that are kept of the whole text.

        The cut may run through the last word, or through a token of several words: the kept tokens must end before both.
        """
        words, last_kept = encoding.word_ids, self._max_text_tokens - 2
        if len(words) <= self._max_text_tokens or words[last_kept] == words[-2]:
            return False
        return bool(encoding.offsets[last_kept][1] + self._longest_added <= num_chars)

    def find_token_id(self, token: str) -> int | None:
        """Return the number of a token by its name (`[MASK]`); None where there is none of this name."""
        found: int | None = self._backend.token_to_id(token)
        return found

    def _tokens(self, encoding: tokenizers.Encoding, model: str) -> Tokens:
        ids, spans, words = encoding.ids, encoding.offsets, encoding.word_ids
        is_truncated = len(ids) > self._max_text_tokens
        if is_truncated:
            kept = slice(0, self._max_text_tokens - 1)
            ids, spans, words = ids[kept] + ids[-1:], spans[kept] + spans[-1:], words[kept] + words[-1:]
        if len(ids) > 2 and ids[1] == self._space:  # noqa: PLR2004  the special tokens
            spans[1] = (spans[1][0], spans[1][0])
        word_of = np.array([-1 if word is None else word for word in words], dtype=np.int32)
        places, num_prompt = np.array(spans, dtype=np.int32), 0
        windows: tuple[Window, ...] = ()
        if self.prompt:
            is_prompt = places[:, 1] <= len(self.prompt)
            word_of[is_prompt] = -1
            num_prompt = min(int(is_prompt[1:-1].sum()), self.num_prompt)
            places = np.maximum(places - len(self.prompt), 0)
        if self._windowing and len(ids) > self._max_tokens:
            ends = _find_sentence_ends(encoding.tokens[: len(ids)], spans)
            windows = plan_windows(self._windowing, word_of, self._max_tokens, ends, num_prompt)
        numbers = np.array(ids, dtype=np.int32)
        return Tokens(numbers, places, word_of, truncated=is_truncated, windows=windows, num_prompt=num_prompt, model=model)


def _find_sentence_ends(tokens: Sequence[str], spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return whether each token is the last of a sentence."""
    is_apart = [following[0] > own[1] for own, following in pairwise(spans)]
    found = [
        token[-1:] in _WIDE_SENTENCE_ENDS or (token[-1:] in _SENTENCE_ENDS and apart)
        for token, apart in zip(tokens, [*is_apart, False], strict=True)
    ]
    return np.array(found, dtype=np.bool_)
