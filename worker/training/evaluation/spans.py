"""Scores of entities: an entity is right if type, start and end are right, and counts once (as in seqeval). Pure.

Both compared ends are moved behind the combining marks of the last character: annotation tools and tokenizers differ there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from worker.model.outputs.combining_marks import pass_marks
from worker.training.data.examples import Span
from worker.training.evaluation.bootstrap import DEFAULT_DRAWS, estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from worker.records import PredictedEntity
    from worker.training.data.examples import TaggedText
    from worker.training.evaluation.bootstrap import BootstrapEstimate, Draws, Statistic

#: The number of right, found and true entities of each text, `[n, 3]`.
Counts: TypeAlias = "NDArray[np.int64]"
_RIGHT, _FOUND, _GOLD = range(3)
# The columns whose sum is the denominator of each figure.
_DENOMINATORS = {"precision": [_FOUND], "recall": [_GOLD], "f1": [_FOUND, _GOLD]}
_HANDLE = "@"


def compute_f1(num_right: int, num_found: int, num_gold: int) -> float:
    """Return F1; 0 if nothing is found and nothing is true."""
    return 2 * num_right / max(1, num_found + num_gold)


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 of entities."""

    precision: float
    recall: float
    f1: float
    num_gold: int


@dataclass(frozen=True, slots=True)
class SpanGroup:
    """Some of the entities of all texts."""

    name: str
    counts: Counts

    def score(self) -> Score:
        """Return the score; 0 for a division by 0."""
        texts = np.arange(len(self.counts))
        return Score(**{name: float(self._build_statistic(name)(texts)) for name in _DENOMINATORS}, num_gold=self.num_gold)

    def estimates(self, draws: Draws = DEFAULT_DRAWS) -> dict[str, BootstrapEstimate]:
        """Return the score with its intervals."""
        # The entities of a text depend on each other, so Wilson's interval counts texts, not entities.
        num_counted = {name: int(self.counts[:, columns].any(axis=1).sum()) for name, columns in _DENOMINATORS.items()}
        return {
            name: estimate(self._build_statistic(name), len(self.counts), draws, num_counted=[num])
            for name, num in num_counted.items()
        }

    @property
    def num_gold(self) -> int:
        """The number of true entities."""
        return int(self.counts[:, _GOLD].sum())

    @property
    def num_found(self) -> int:
        """The number of found entities, right or wrong."""
        return int(self.counts[:, _FOUND].sum())

    def _build_statistic(self, name: str) -> Statistic:
        columns = _DENOMINATORS[name]

        def compute(texts: NDArray[np.intp]) -> float:
            sums = self.counts[texts].sum(axis=0)
            return float(len(columns) * sums[_RIGHT] / max(1, sums[columns].sum()))

        return compute


def group_spans(tagged: Sequence[TaggedText], found: Sequence[Sequence[PredictedEntity]]) -> list[SpanGroup]:
    """Count the entities of texts: `all`, those of each true type, those that are no @handle, and @handles as two entities.

    Some corpora count `@name` as two entities, `@` and `name`: compare their figures with `handles as two`.
    """
    texts = [example.text for example in tagged]
    pairs = [(set(gold_spans(example)), set(found_spans(example.text, own))) for example, own in zip(tagged, found, strict=True)]

    def count(name: str, select: Callable[[str, Collection[Span]], set[Span]]) -> SpanGroup:
        rows = []
        for text, sides in zip(texts, pairs, strict=True):
            gold, own = (select(text, spans) for spans in sides)
            rows.append((len(gold & own), len(own), len(gold)))
        return SpanGroup(name, np.array(rows, dtype=np.int64).reshape(-1, 3))

    types = sorted({span.type for gold, _ in pairs for span in gold})
    return [
        count("all", lambda _text, spans: set(spans)),
        *(count(kind, lambda _text, spans, kind=kind: {span for span in spans if span.type == kind}) for kind in types),  # type: ignore[misc]
        count("without handles", lambda text, spans: {span for span in spans if not text.startswith(_HANDLE, span.start)}),
        count("handles as two", lambda text, spans: {half for span in spans for half in split_handle(text, span)}),
    ]


def gold_spans(tagged: TaggedText) -> list[Span]:
    """Return the true entities of a text, each with the combining marks of its last character."""
    return [Span(span.type, span.start, pass_marks(tagged.text, span.end)) for span in tagged.spans]


def found_spans(text: str, found: Sequence[PredictedEntity]) -> list[Span]:
    """Return the found entities of a text in the form of `gold_spans`, in order."""
    return [Span(entity.type, entity.start, pass_marks(text, entity.end)) for entity in found]


def split_handle(text: str, span: Span) -> list[Span]:
    """Return the `@` and the name of a handle; any other span unchanged."""
    if span.end - span.start == 1 or not text.startswith(_HANDLE, span.start):
        return [span]
    return [Span(span.type, span.start, span.start + 1), Span(span.type, span.start + 1, span.end)]
