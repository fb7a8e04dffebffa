"""All figures of an evaluation, as they are printed, drawn and written as JSON. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.training.evaluation import labels, mistakes, spans
from worker.training.evaluation.bootstrap import DEFAULT_DRAWS, Draws

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.records import PredictedEntity
    from worker.training.data.examples import TaggedText
    from worker.training.evaluation.bootstrap import BootstrapEstimate
    from worker.training.evaluation.labels import Bin, LabelPredictions
    from worker.training.evaluation.mistakes import Mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Options of the figures."""

    #: The number of printed mistakes of each kind.
    num_examples: int = 5
    seed: int = 0
    num_draws: int = DEFAULT_DRAWS.num

    @property
    def draws(self) -> Draws:
        """The bootstrap draws."""
        return Draws(self.num_draws, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadReport:
    """A head on one file."""

    head: str
    title: str
    num_texts: int
    temperature: float
    reliability: tuple[Bin, ...]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport(HeadReport):
    """A classification head on one file."""

    labels: tuple[str, ...]
    #: The share of the most frequent true label: the accuracy of always predicting it.
    majority: float
    figures: Mapping[str, BootstrapEstimate]
    #: The number of texts of each true label (rows) with each predicted label (columns).
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityGroup:
    """Some of the entities."""

    name: str
    num_gold: int
    num_found: int
    figures: Mapping[str, BootstrapEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityReport(HeadReport):
    """An entity head on one file."""

    types: tuple[str, ...]
    #: `all`, each type, then the other ways to count handles.
    groups: tuple[EntityGroup, ...]
    #: The expected calibration error of the scores of found entities.
    ece: BootstrapEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorReport:
    """The sentence vectors compared with those of another encoder."""

    against: str
    num_texts: int
    figures: Mapping[str, BootstrapEstimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """A checkpoint on some files."""

    model: str
    #: Device, data type and backend.
    runs_on: str
    options: EvaluationOptions
    labels: tuple[LabelReport, ...]
    entities: tuple[EntityReport, ...]
    vectors: VectorReport | None

    def as_json(self) -> dict[str, Any]:
        """Return all figures with their definitions; NaN becomes null."""
        definitions = {
            "interval": f"95 %: percentiles of {self.options.num_draws} bootstrap draws. Without spread: Wilson's interval of a "
            "share over the texts that the share counts, and null for other figures",
            "macro F1": "the mean over the labels that are true or predicted somewhere",
            "AUROC": "of two labels the second's; of more labels the mean of each against the rest",
            "ECE": labels.ECE,
            "confusion": "rows are true labels, columns predicted labels, in the order of labels",
            "entities": "type, start and end are exact, and each entity counts once, as in seqeval",
        }
        return {"definitions": definitions, **_replace_nan(asdict(self))}


def build_label_report(
    head: str, title: str, predictions: LabelPredictions, texts: Sequence[str], *, temperature: float, options: EvaluationOptions
) -> LabelReport:
    """Measure the predictions of a classification head."""
    confusion = labels.count_confusion(predictions)
    return LabelReport(
        head=head,
        title=title,
        num_texts=len(texts),
        temperature=temperature,
        labels=predictions.labels,
        majority=float(confusion.sum(axis=1).max() / max(1, len(texts))),
        figures=labels.estimate_figures(predictions, options.draws),
        confusion=tuple(map(tuple, confusion.tolist())),
        reliability=labels.measure_reliability(predictions.confidence, predictions.is_right),
        mistakes=tuple(mistakes.find_label_mistakes(predictions, texts, options.num_examples)),
    )


def build_entity_report(
    head: str,
    title: str,
    tagged: Sequence[TaggedText],
    found: Sequence[Sequence[PredictedEntity]],
    *,
    temperature: float,
    options: EvaluationOptions,
) -> EntityReport:
    """Measure the entities that a head finds."""
    text = np.repeat(np.arange(len(found)), [len(entities) for entities in found])
    scores = np.array([entity.score for entities in found for entity in entities], dtype=np.float64)
    is_right = np.array(
        [
            span in gold
            for example, entities in zip(tagged, found, strict=True)
            for gold in [set(spans.gold_spans(example))]
            for span in spans.found_spans(example.text, entities)
        ],
        dtype=np.bool_,
    )
    return EntityReport(
        head=head,
        title=title,
        num_texts=len(tagged),
        temperature=temperature,
        types=tuple(sorted({span.type for example in tagged for span in example.spans})),
        groups=tuple(
            EntityGroup(name=group.name, num_gold=group.num_gold, num_found=group.num_found, figures=group.estimates(options.draws))
            for group in spans.group_spans(tagged, found)
        ),
        ece=labels.estimate_calibration_error(scores, is_right, text, len(tagged), options.draws),
        reliability=labels.measure_reliability(scores, is_right),
        mistakes=tuple(mistakes.find_entity_mistakes(tagged, found, options.num_examples)),
    )


def _replace_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _replace_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
