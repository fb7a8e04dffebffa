"""All figures of an evaluation, as they are shown, drawn and written as JSON. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.training.evaluation import labels, mistakes, spans
from worker.training.evaluation.bootstrap import NUM_DRAWS, estimates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.records import Entity
    from worker.training.data.examples import TaggedText
    from worker.training.evaluation.bootstrap import BootstrapEstimate
    from worker.training.evaluation.labels import Bin, Judged
    from worker.training.evaluation.mistakes import Mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """How an evaluation is made."""

    #: How many mistakes of each kind are shown.
    num_examples: int = 5
    seed: int = 0
    num_draws: int = NUM_DRAWS

    @property
    def drawing(self) -> dict[str, int]:
        """How texts are drawn again."""
        return {"seed": self.seed, "num_draws": self.num_draws}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """A classification head on one file."""

    head: str
    title: str
    num_texts: int
    temperature: float
    labels: tuple[str, ...]
    #: The share of the most frequent true label: what always saying it would score.
    majority: float
    figures: Mapping[str, BootstrapEstimate]
    #: How many texts of each true label (rows) were given each label (columns).
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[Bin, ...]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityGroup:
    """Some of the entities."""

    name: str
    num_gold: int
    num_found: int
    figures: Mapping[str, BootstrapEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityReport:
    """An entity head on one file."""

    head: str
    title: str
    num_texts: int
    temperature: float
    types: tuple[str, ...]
    #: `all`, each of the types, then those that are counted otherwise.
    groups: tuple[EntityGroup, ...]
    #: The expected calibration error of the scores of what was found.
    ece: BootstrapEstimate
    reliability: tuple[Bin, ...]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorReport:
    """Sentence vectors beside those of another encoder."""

    against: str
    num_texts: int
    figures: Mapping[str, BootstrapEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """A checkpoint on some files."""

    model: str
    #: Device, number format and backend.
    runs_on: str
    options: EvaluationOptions
    labels: tuple[LabelReport, ...]
    entities: tuple[EntityReport, ...]
    vectors: VectorReport | None

    def as_json(self) -> dict[str, Any]:
        """Return it for a file: with what the figures mean, and null for what is not a number."""
        meant = {
            "interval": f"95 %, percentiles of {self.options.num_draws} draws of as many texts; where these have no spread, "
            "Wilson's interval of a share over the texts that it counts, and null for other figures",
            "macro F1": "the mean over the labels that are true or given somewhere",
            "AUROC": "of two labels the second's; of more the mean of each against the rest",
            "ECE": labels.ECE,
            "confusion": "rows are true labels, columns what was said, in the order of labels",
            "entities": "span and type both exact, each once: the counting of seqeval",
        }
        return {"definitions": meant, **_plain(asdict(self))}


def of_labels(
    head: str, title: str, it: Judged, texts: Sequence[str], *, temperature: float, options: EvaluationOptions
) -> LabelReport:
    """Measure what a classification head says."""
    table = labels.confusion(it)
    return LabelReport(
        head=head,
        title=title,
        num_texts=len(texts),
        temperature=temperature,
        labels=it.labels,
        majority=float(table.sum(axis=1).max() / max(1, len(texts))),
        figures=estimates(labels.statistics(it), len(texts), num_counted=labels.num_counted(it), **options.drawing),
        confusion=tuple(map(tuple, table.tolist())),
        reliability=labels.reliability(it.confidence, it.is_right),
        mistakes=tuple(mistakes.of_labels(it, texts, options.num_examples)),
    )


def of_entities(
    head: str,
    title: str,
    tagged: Sequence[TaggedText],
    found: Sequence[Sequence[Entity]],
    *,
    temperature: float,
    options: EvaluationOptions,
) -> EntityReport:
    """Measure what an entity head finds."""
    text = np.repeat(np.arange(len(found)), [len(it) for it in found])
    scores = np.array([e.score for own in found for e in own], dtype=np.float64)
    judged = [
        span in gold
        for it, own in zip(tagged, found, strict=True)
        for gold in [set(spans.gold_spans(it))]
        for span in spans.found_spans(it.text, own)
    ]
    is_right = np.array(judged, dtype=np.bool_)
    error = labels.calibration_error(scores, is_right, text)
    return EntityReport(
        head=head,
        title=title,
        num_texts=len(tagged),
        temperature=temperature,
        types=tuple(sorted({span.type for it in tagged for span in it.spans})),
        groups=tuple(
            EntityGroup(name=it.name, num_gold=it.num_gold, num_found=it.num_found, figures=it.estimates(**options.drawing))
            for it in spans.groups(tagged, found)
        ),
        # The error is no share of texts.
        ece=estimates({"ECE": error}, len(tagged), num_counted={}, **options.drawing)["ECE"],
        reliability=labels.reliability(scores, is_right),
        mistakes=tuple(mistakes.of_entities(tagged, found, options.num_examples)),
    )


def _plain(value: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(value, dict):
        return {name: _plain(it) for name, it in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(it) for it in value]
    return None if isinstance(value, float) and math.isnan(value) else value
