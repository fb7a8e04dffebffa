"""Examples of wrong predictions, one line each, the most confident first. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.training.evaluation.spans import found_spans, gold_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.records import PredictedEntity
    from worker.training.data.examples import TaggedText
    from worker.training.evaluation.labels import LabelPredictions

_MAX_CHARS = 96
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong prediction."""

    #: The true label or entity type; None for a found entity that is wrong.
    true: str | None
    #: The predicted label or entity type; None for a missed entity.
    predicted: str | None
    #: The probability of the prediction.
    score: float | None
    #: The text on one line, shortened; an entity is between `[` and `]`.
    text: str


def find_label_mistakes(predictions: LabelPredictions, texts: Sequence[str], count: int) -> list[Mistake]:
    """Return at most `count` texts with a wrong label, the most confident first."""
    labels, confidence = predictions.labels, predictions.confidence
    wrong = np.flatnonzero(~predictions.is_right)
    return [
        Mistake(labels[predictions.true[text]], labels[predictions.predicted[text]], float(confidence[text]), one_line(texts[text]))
        for text in wrong[np.argsort(-confidence[wrong], kind="stable")][:count].tolist()
    ]


def find_entity_mistakes(tagged: Sequence[TaggedText], found: Sequence[Sequence[PredictedEntity]], count: int) -> list[Mistake]:
    """Return at most `count` wrong entities, the most confident first, then at most `count` missed entities, spread over the texts.

    An entity with a wrong type or a wrong end is wrong, and the true entity is missed.
    """
    wrong, missed = [], []
    for example, own in zip(tagged, found, strict=True):
        gold, by_span = gold_spans(example), dict(zip(found_spans(example.text, own), own, strict=True))
        wrong += [(entity, example.text) for span, entity in by_span.items() if span not in gold]
        missed += [(span, example.text) for span in gold if span not in by_span]
    wrong.sort(key=lambda pair: -pair[0].score)
    step = max(1, len(missed) // max(1, count))
    return [
        *(Mistake(None, entity.type, entity.score, _mark(text, entity.start, entity.end)) for entity, text in wrong[:count]),
        *(Mistake(span.type, None, None, _mark(text, span.start, span.end)) for span, text in missed[::step][:count]),
    ]


def one_line(text: str) -> str:
    """Return the beginning of a text on one line, without characters that control a terminal."""
    line = _plain(text).strip()
    return line if len(line) <= _MAX_CHARS else line[: _MAX_CHARS - 1] + _ELLIPSIS


def _mark(text: str, start: int, end: int) -> str:
    """Return an entity between `[` and `]` with its context, on one line."""
    own = one_line(text[start:end])
    room = (_MAX_CHARS - len(own) - 2) // 2
    before, after = _plain(text[:start]).lstrip(), _plain(text[end:]).rstrip()
    if len(before) > room:
        before = _ELLIPSIS + before[len(before) - room + 1 :]
    if len(after) > room:
        after = after[: max(0, room - 1)] + _ELLIPSIS
    return f"{before}[{own}]{after}"


def _plain(text: str) -> str:
    """Replace each run of spaces and unprintable characters by one space."""
    return re.sub(" +", " ", "".join(character if character.isprintable() else " " for character in text))
