"""Decode the logits of published taggers into entities. Pure.

A word of the text has the label of its first token, as transformers' `aggregation_strategy="first"` has it. The label's probability
is the word's score, and the mean of the words' scores is that of the entity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worker.model.outputs.combining_marks import pass_marks
from worker.model.outputs.tag_schemes import read_scheme
from worker.model.outputs.text_words import find_words
from worker.records import PredictedEntity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from worker.model.heads.head_config import HeadConfig
    from worker.model.outputs.tag_schemes import TagScheme
    from worker.model.outputs.text_words import TextWord
    from worker.records import TokenizedItem


def tagged_entities(
    config: HeadConfig, logits: NDArray[np.float32], texts: Sequence[TokenizedItem]
) -> list[tuple[PredictedEntity, ...]]:
    """Return the entities of each text from the logits of the texts' tokens, end to end, shape `[T, labels]`."""
    scheme = read_scheme(config.labels)
    best = logits.argmax(axis=1)
    starts = np.cumsum([0, *(len(text.tokens) for text in texts)])
    # Most texts have no entity and are done after this check.
    is_named = np.logical_or.reduceat(scheme.type_numbers[best] >= 0, starts[:-1])
    return [
        tuple(_read_text(config, scheme, logits[first:end], best[first:end].tolist(), text)) if named else ()
        for text, named, first, end in zip(texts, is_named.tolist(), starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]


def _read_text(
    config: HeadConfig, scheme: TagScheme, logits: NDArray[np.float32], best: Sequence[int], text: TokenizedItem
) -> Iterator[PredictedEntity]:
    words = find_words(text.item.text, text.tokens.spans.tolist(), text.tokens.words.tolist())
    for first, end in _find_runs(scheme, [best[word.token] for word in words]):
        own = words[first:end]
        label = best[own[0].token]
        limit = words[end].start if end < len(words) else None
        end_char = pass_marks(text.item.text, own[-1].end, limit)
        yield PredictedEntity(
            scheme.types[label] or "",
            text.item.text[own[0].start : end_char],
            own[0].start,
            end_char,
            _compute_score(logits, best, own),
            config.name,
        )


def _find_runs(scheme: TagScheme, labels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first word and the word after the last of each entity."""
    start = None
    for word, label in enumerate(labels):
        kind, previous = scheme.types[label], labels[word - 1]
        goes_on = (
            start is not None and kind == scheme.types[previous] and not scheme.is_begin[label] and not scheme.is_end[previous]
        )
        if start is not None and not goes_on:
            yield start, word
        if not goes_on:
            start = None if kind is None else word
    if start is not None:
        yield start, len(labels)


def _compute_score(logits: NDArray[np.float32], best: Sequence[int], words: Sequence[TextWord]) -> float:
    """Return the mean probability of the labels of some words."""
    tokens = [word.token for word in words]
    rows = logits[tokens].astype(np.float64)
    odds = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares = odds[np.arange(len(tokens)), [best[token] for token in tokens]] / odds.sum(axis=1)
    return min(float(shares.mean()), 1.0)
