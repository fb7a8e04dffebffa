"""How good the entities of texts are: counted whole, span and type both exact, each once (seqeval's counting). Pure.

Both ends that are compared lie behind the combining marks of the last character: annotation tools and tokenizers differ there, and
neither means half of a character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from worker.model.outputs.combining_marks import pass_marks
from worker.training.data.examples import Span
from worker.training.evaluation.bootstrap import estimates

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from worker.records import Entity
    from worker.training.data.examples import TaggedText
    from worker.training.evaluation.bootstrap import BootstrapEstimate, Floats, Statistic

# For each text how many entities are rightly found, found, and there, `[n, 3]`.
Counts: TypeAlias = "NDArray[np.int64]"
_RIGHT, _FOUND, _GOLD = range(3)
_HANDLE = "@"


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 of entities."""

    precision: float
    recall: float
    f1: float
    num_gold: int


@dataclass(frozen=True, slots=True)
class SpanGroup:
    """Some of the entities, of all texts."""

    name: str
    counts: Counts

    def score(self) -> Score:
        """Return the score; nothing found or nothing to find is a score of 0."""
        once = np.ones((1, len(self.counts)))
        return Score(**{name: float(of(once)[0]) for name, of in self._statistics().items()}, num_gold=self.num_gold)

    def estimates(self, **options: int) -> dict[str, BootstrapEstimate]:
        """Return the score with its intervals."""
        right_of = {"precision": [_FOUND], "recall": [_GOLD], "f1": [_FOUND, _GOLD]}
        # The entities of a text are not independent of each other: a share counts texts, not entities.
        num_counted = {name: [int(self.counts[:, its].any(axis=1).sum())] for name, its in right_of.items()}
        return estimates(self._statistics(), len(self.counts), num_counted=num_counted, **options)

    @property
    def num_gold(self) -> int:
        """How many are there."""
        return int(self.counts[:, _GOLD].sum())

    @property
    def num_found(self) -> int:
        """How many were found, rightly or not."""
        return int(self.counts[:, _FOUND].sum())

    def _statistics(self) -> dict[str, Statistic]:
        counts = self.counts.astype(np.float64)

        def ratio(top: Floats, bottom: Floats) -> Statistic:
            return lambda weights: (weights @ top) / np.maximum(weights @ bottom, 1)

        right, found, gold = counts.T
        return {"precision": ratio(right, found), "recall": ratio(right, gold), "f1": ratio(2 * right, found + gold)}


def groups(tagged: Sequence[TaggedText], found: Sequence[Sequence[Entity]]) -> list[SpanGroup]:
    """Count the entities of some texts: `all`, those of each type that is there, those that are no @handle, and handles as two.

    Some corpora count `@name` as two entities, `@` and `name`; `handles as two` is the figure to compare with theirs.
    """
    texts = [it.text for it in tagged]
    pairs = [(set(gold_spans(it)), set(found_spans(it.text, own))) for it, own in zip(tagged, found, strict=True)]

    def counted(name: str, of: Callable[[str, Collection[Span]], set[Span]]) -> SpanGroup:
        rows = [_count(of(text, gold), of(text, said)) for text, (gold, said) in zip(texts, pairs, strict=True)]
        return SpanGroup(name, np.array(rows, dtype=np.int64).reshape(-1, 3))

    types = sorted({span.type for gold, _ in pairs for span in gold})
    return [
        counted("all", lambda _text, spans: set(spans)),
        *(counted(kind, lambda _text, spans, kind=kind: {it for it in spans if it.type == kind}) for kind in types),  # type: ignore[misc]
        counted("without handles", lambda text, spans: {it for it in spans if not text.startswith(_HANDLE, it.start)}),
        counted("handles as two", lambda text, spans: {half for it in spans for half in halves(text, it)}),
    ]


def gold_spans(tagged: TaggedText) -> list[Span]:
    """Return the true entities of a text, each with the combining marks of its last character."""
    return [_whole(tagged.text, span.type, span.start, span.end) for span in tagged.spans]


def found_spans(text: str, found: Sequence[Entity]) -> list[Span]:
    """Return the entities that were found in a text as spans to be compared with `gold_spans`, in order."""
    return [_whole(text, entity.type, entity.start, entity.end) for entity in found]


def _whole(text: str, kind: str, start: int, end: int) -> Span:
    return Span(kind, start, pass_marks(text, end))


def _count(gold: set[Span], found: set[Span]) -> tuple[int, int, int]:
    return len(gold & found), len(found), len(gold)


def halves(text: str, span: Span) -> list[Span]:
    """Return the `@` and the name of a handle; of what is none, itself."""
    if span.end - span.start == 1 or not text.startswith(_HANDLE, span.start):
        return [span]
    return [Span(span.type, span.start, span.start + 1), Span(span.type, span.start + 1, span.end)]
