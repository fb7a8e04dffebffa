"""How good the heads are, measured on the model as it is served: text in, results out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from worker.records import Item, Partition, Record, Task, TokenizedItem
from worker.training.data.examples import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from worker.model.engine import Engine
    from worker.records import Prediction
    from worker.training.data.examples import TaggedText

_BATCH = 64
# The number of the text, the entity, and its characters.
Counted: TypeAlias = tuple[int, Span, str]


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 of entities, counted whole: span and type must both be right (seqeval's strict counting)."""

    precision: float
    recall: float
    f1: float
    num_gold: int

    @classmethod
    def of(cls, *, num_right: int, num_found: int, num_gold: int) -> Score:
        """Count; nothing found or nothing to find is a score of 0."""
        precision, recall = num_right / max(1, num_found), num_right / max(1, num_gold)
        return cls(precision, recall, 2 * precision * recall / max(precision + recall, 1e-12), num_gold)


def predictions(engine: Engine, texts: Sequence[str], task: Task) -> Iterator[Prediction]:
    """Yield what the engine says of each text."""
    nowhere = Record(Partition("evaluation", 0), 0, None, b"")
    for first in range(0, len(texts), _BATCH):
        chunk = texts[first : first + _BATCH]
        tokens = engine.tokenize(chunk)
        items = [Item(nowhere, "", text, frozenset({task})) for text in chunk]
        yield from engine.infer([TokenizedItem(*pair) for pair in zip(items, tokens, strict=True)])


def accuracy(engine: Engine, head: str, texts: Sequence[str], labels: Sequence[str]) -> float:
    """Return the share of texts whose label the head gets right."""
    found = [it.labels[head].label for it in predictions(engine, texts, Task.CLASSIFY) if it.labels]
    return sum(a == b for a, b in zip(found, labels, strict=True)) / len(labels)


def entity_scores(engine: Engine, tagged: Sequence[TaggedText]) -> dict[str, Score]:
    """Return the score over all entities (`all`), of each type, without @handles, and with each handle counted as two.

    Some corpora count `@name` as two entities, `@` and `name`; `handles as two` is the figure to compare with theirs.
    """
    gold: list[Counted] = []
    found: list[Counted] = []
    for number, (it, prediction) in enumerate(zip(tagged, predictions(engine, [it.text for it in tagged], Task.NER), strict=True)):
        gold += [(number, span, it.text[span.start : span.end]) for span in it.spans]
        found += [(number, Span(e.type, e.start, e.end), e.text) for e in prediction.entities or ()]
    scores = {"all": score(gold, found)}
    for kind in sorted({span.type for _, span, _ in gold}):
        scores[kind] = score([it for it in gold if it[1].type == kind], [it for it in found if it[1].type == kind])
    scores["without handles"] = score(*([it for it in side if not it[2].startswith("@")] for side in (gold, found)))
    scores["handles as two"] = score(*([half for it in side for half in _halves(it)] for side in (gold, found)))
    return scores


def score(gold: Iterable[Counted], found: Iterable[Counted]) -> Score:
    """Score what was found against what is there; each counts once."""
    wanted, given = Counter(gold), Counter(found)
    return Score.of(num_right=(wanted & given).total(), num_found=given.total(), num_gold=wanted.total())


def _halves(counted: Counted) -> list[Counted]:
    number, span, text = counted
    if len(text) == 1 or not text.startswith("@"):
        return [counted]
    at = Span(span.type, span.start, span.start + 1)
    return [(number, at, "@"), (number, Span(span.type, span.start + 1, span.end), text[1:])]
