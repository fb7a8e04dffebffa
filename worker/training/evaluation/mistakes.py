"""Examples of what a model gets wrong, a line each: the most confident first, because they teach most. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.training.evaluation.spans import found_spans, gold_spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.records import Entity
    from worker.training.data.examples import TaggedText
    from worker.training.evaluation.labels import Judged

_MAX_CHARS = 96
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that is wrong, in words."""

    #: The true label or entity; None for an entity that is none.
    true: str | None
    #: What was said instead; None for an entity that was missed.
    said: str | None
    #: How sure the model was of what it said.
    score: float | None
    #: The text on one line, cut; an entity stands in it between `[` and `]`.
    text: str


def of_labels(it: Judged, texts: Sequence[str], count: int) -> list[Mistake]:
    """Return the texts whose wrong label the head is surest of."""
    wrong = np.flatnonzero(~it.is_right)
    surest = wrong[np.argsort(-it.confidence[wrong], kind="stable")][:count].tolist()
    return [
        Mistake(it.labels[it.true[number]], it.labels[it.said[number]], float(it.confidence[number]), one_line(texts[number]))
        for number in surest
    ]


def of_entities(tagged: Sequence[TaggedText], found: Sequence[Sequence[Entity]], count: int) -> list[Mistake]:
    """Return the surest entities that are none, then as many that were missed, from all over the texts.

    A wrong type or a wrong end is both: found in vain, and missed.
    """
    spurious, missed = [], []
    for it, own in zip(tagged, found, strict=True):
        gold, said = gold_spans(it), dict(zip(found_spans(it.text, own), own, strict=True))
        spurious += [(e, it) for span, e in said.items() if span not in gold]
        missed += [(span, it) for span in gold if span not in said]
    spurious.sort(key=lambda pair: -pair[0].score)
    step = max(1, len(missed) // max(1, count))
    return [
        *(Mistake(None, e.type, e.score, _around(it.text, e.start, e.end)) for e, it in spurious[:count]),
        *(Mistake(span.type, None, None, _around(it.text, span.start, span.end)) for span, it in missed[::step][:count]),
    ]


def one_line(text: str) -> str:
    """Return the beginning of a text on one line, with nothing in it that a terminal would obey."""
    line = _plain(text).strip()
    return line if len(line) <= _MAX_CHARS else line[: _MAX_CHARS - 1] + _ELLIPSIS


def _around(text: str, start: int, end: int) -> str:
    """Return an entity between `[` and `]` and what stands around it, on one line."""
    own = one_line(text[start:end])
    room = (_MAX_CHARS - len(own) - 2) // 2
    before, after = _plain(text[:start]).lstrip(), _plain(text[end:]).rstrip()
    if len(before) > room:
        before = _ELLIPSIS + before[len(before) - room + 1 :]
    if len(after) > room:
        after = after[: max(0, room - 1)] + _ELLIPSIS
    return f"{before}[{own}]{after}"


def _plain(text: str) -> str:
    return "".join(_printable(text))


def _printable(text: str) -> Iterator[str]:
    """Yield printable characters, and one space for each run of others and of spaces."""
    is_after_space = False
    for it in text:
        is_space = it.isspace() or not it.isprintable()
        if not (is_space and is_after_space):
            yield " " if is_space else it
        is_after_space = is_space
