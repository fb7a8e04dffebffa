"""Decode the logits of heads into the labels of texts, and into entities with their places in the original text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worker.model.outputs import bio
from worker.model.outputs.combining_marks import pass_marks
from worker.model.outputs.token_logits import sum_context
from worker.records import Classification, PredictedEntity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from worker.model.heads.head_config import HeadConfig
    from worker.records import TokenizedItem


def classifications(config: HeadConfig, logits: NDArray[np.float32]) -> list[Classification]:
    """Return the classification of each of `n` texts from its row of logits."""
    if config.is_multi_label:
        return _several(config, _sigmoid(logits))
    if config.is_binary:
        positive = _sigmoid(logits[:, 0])
        probabilities = np.stack([1 - positive, positive], axis=1)
    else:
        probabilities = np.exp(_log_softmax(logits.astype(np.float64)))
    best = probabilities.argmax(axis=1).tolist()
    return [
        Classification(config.labels[index], scores[index], dict(zip(config.labels, scores, strict=True)))
        for index, scores in zip(best, probabilities.tolist(), strict=True)
    ]


def regressions(config: HeadConfig, logits: NDArray[np.float32]) -> list[dict[str, float]]:
    """Return the numbers of each of `n` texts, by label, from its row of logits."""
    return [dict(zip(config.labels, row, strict=True)) for row in logits.tolist()]


def _several(config: HeadConfig, probabilities: NDArray[np.float64]) -> list[Classification]:
    """Return the labels that reach the threshold, in the order of the head, and the likeliest, which may not."""
    chosen = probabilities >= config.threshold
    return [
        Classification(
            config.labels[index],
            scores[index],
            dict(zip(config.labels, scores, strict=True)),
            tuple(label for label, is_chosen in zip(config.labels, own, strict=True) if is_chosen),
        )
        for index, scores, own in zip(probabilities.argmax(axis=1).tolist(), probabilities.tolist(), chosen.tolist(), strict=True)
    ]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities, in a form that no logit overflows."""
    probabilities: NDArray[np.float64] = (1 + np.tanh(logits.astype(np.float64) / 2)) / 2
    return probabilities


def entities(
    config: HeadConfig,
    logits: NDArray[np.float32],
    texts: Sequence[TokenizedItem],
    transitions: NDArray[np.float64] | None = None,
) -> list[tuple[PredictedEntity, ...]]:
    """Return the entities of each text from the logits of the texts' tokens, end to end, shape `[T, num_logits]`.

    A word is labelled by its first piece. An entity reaches from the first character of its first word to the last of its last with
    the combining marks that follow, in code points of the original text. Its score is the mean probability of its words' labels.
    `transitions` are those of a CRF.
    """
    lengths = np.array([len(text.tokens) for text in texts])
    # Most texts have no entity and are done after this check.
    is_named = np.ones(len(texts), dtype=bool) if config.context_words else _is_named(config, logits, lengths, transitions)
    numbers = np.flatnonzero(is_named).tolist()
    found: list[list[PredictedEntity]] = [[] for _ in numbers]
    if numbers:
        named = [texts[number] for number in numbers]
        for place, entity in _entities(config, logits[np.repeat(is_named, lengths)], named, transitions):
            found[place].append(entity)
    of_texts: list[tuple[PredictedEntity, ...]] = [()] * len(texts)
    for number, own in zip(numbers, found, strict=True):
        of_texts[number] = tuple(own)
    return of_texts


def _is_named(
    config: HeadConfig, logits: NDArray[np.float32], lengths: NDArray[np.int64], transitions: NDArray[np.float64] | None
) -> NDArray[np.bool_]:
    """Tell which texts may have an entity: those with a token that is not outside, or not so clearly that nothing can change it."""
    outside = config.labels.index(bio.OUTSIDE)
    if transitions is None:
        is_open = logits.argmax(axis=1) != outside
    else:
        margin = bio.certain_margin(bio.allowed_transitions(config.labels), transitions, outside)
        is_open = logits[:, outside] <= np.delete(logits, outside, axis=1).max(axis=1) + margin
    is_named = np.zeros(len(lengths), dtype=bool)
    is_named[np.repeat(np.arange(len(lengths)), lengths)[is_open]] = True
    return is_named


def _entities(
    config: HeadConfig, logits: NDArray[np.float32], texts: Sequence[TokenizedItem], transitions: NDArray[np.float64] | None
) -> Iterator[tuple[int, PredictedEntity]]:
    """Yield each entity of some texts, in order, with the place of its text among them."""
    starts = np.cumsum([0, *(len(text.tokens) for text in texts)])
    is_first, is_last = _word_edges(np.concatenate([text.tokens.words for text in texts]), starts)
    first, last = np.flatnonzero(is_first), np.flatnonzero(is_last)
    of_words = np.searchsorted(first, starts)
    scores = sum_context(logits[first], of_words, len(config.labels)).astype(np.float64)
    path = bio.best_paths(scores, of_words, bio.allowed_transitions(config.labels), transitions)
    begins, ends = bio.entity_spans(path, config.labels)
    if not len(begins):
        return
    probabilities = _path_probabilities(config, scores, path, of_words, transitions)
    spans = np.concatenate([text.tokens.spans for text in texts])
    places = np.searchsorted(starts, first[begins], side="right") - 1
    # Of each run of words from `begins` to `ends` the sum, and between two of them another.
    sums = np.add.reduceat(np.append(probabilities, 0.0), np.stack([begins, ends], axis=1).ravel())[::2]
    means = np.minimum(sums / (ends - begins), 1.0)
    columns = (places, path[begins], means, spans[first[begins], 0], spans[last[ends - 1], 1])
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    followers = [(row[0], row[3]) for row in rows[1:]] + [(-1, 0)]
    for (place, label, score, start_char, last_char), (next_place, next_start) in zip(rows, followers, strict=True):
        text = texts[place].item.text
        end_char = pass_marks(text, last_char, next_start if next_place == place else None)
        yield place, PredictedEntity(config.labels[label][2:], text[start_char:end_char], start_char, end_char, score, config.name)


def _path_probabilities(
    config: HeadConfig,
    scores: NDArray[np.float64],
    path: NDArray[np.intp],
    starts: NDArray[np.int64],
    transitions: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return how probable the label of each word is that is not outside, `[words]`; 0 where it is."""
    named, found = np.flatnonzero(path != config.labels.index(bio.OUTSIDE)), np.zeros(len(path))
    if transitions is None:
        found[named] = np.exp(_log_softmax(scores[named])[np.arange(len(named)), path[named]])
        return found
    # Probabilities are computed only for texts with an entity.
    lengths = np.diff(starts)
    of_word, is_asked = np.repeat(np.arange(len(lengths)), lengths), np.zeros(len(lengths), dtype=bool)
    is_asked[of_word[named]] = True
    places = np.flatnonzero(is_asked[of_word])
    allowed = bio.allowed_transitions(config.labels)
    shares = bio.marginals(scores[places], np.cumsum([0, *lengths[is_asked]]), allowed, transitions)
    found[named] = shares[np.searchsorted(places, named), path[named]]
    return found


def _word_edges(words: NDArray[np.int32], starts: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which tokens are the first pieces of words, and which the last; texts start at `starts`, and no word spans two."""
    is_edge = np.ones(len(words) + 1, dtype=bool)
    is_edge[1:-1] = words[1:] != words[:-1]
    is_edge[starts] = True
    return is_edge[:-1] & (words >= 0), is_edge[1:] & (words >= 0)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalized
