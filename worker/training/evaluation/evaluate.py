"""Measure a model with the serving engine: texts in, predictions out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.errors import BadModel, BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.outputs import bio
from worker.records import Item, Partition, Record, Task, TokenizedItem
from worker.training.data.corpora import sample_texts
from worker.training.data.examples import TaggedText
from worker.training.data.labels import LabelMap
from worker.training.evaluation import labels, report, spans, vectors
from worker.training.evaluation.spans import compute_f1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from worker.model.backends.choice import BackendName
    from worker.model.heads.head_config import HeadConfig
    from worker.model.processor.devices import Device, Dtype
    from worker.records import Prediction
    from worker.training.data.examples import LabelledData, TaggedData
    from worker.training.learning.tasks import TrainingTask


_BATCH = 64
# All pairs of vectors are compared.
_MAX_VECTORS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """A model, and how it runs."""

    model: str
    #: The encoder with which the vectors are compared.
    against: str | None = None
    #: The dimensions that are kept of a vector of the model; 0 for all.
    dimensions: int = 0
    device: Device = "auto"
    dtype: Dtype = "auto"
    backend: BackendName = "auto"
    #: The heads' name of an entity type that files call otherwise; None for a type that the heads need not find.
    types: Mapping[str, str | None] = field(default_factory=dict)
    report: report.EvaluationOptions = field(default_factory=report.EvaluationOptions)


def evaluate(
    options: EvaluateOptions, labelled: Sequence[LabelledData], tagged: Sequence[TaggedData], progress: Callable[[str], None]
) -> report.EvaluationReport:
    """Measure a model on held-out texts; raises `BadModel` for the model, and `BadSettings` for unsuitable texts."""
    loaded = checkpoint.load(options.model, dimensions=options.dimensions)
    engine = Engine.from_checkpoint(loaded, device=options.device, dtype=options.dtype, backend=options.backend)
    configs = [head.config for head in loaded.heads.heads.values()]
    progress(f"{engine.name} on {engine.description}")
    label_reports = [found for data in labelled for found in _report_labels(engine, configs, data, options, progress)]
    entity_reports = [found for data in tagged for found in _report_entities(engine, configs, data, options, progress)]
    texts = [text.text for data in labelled for text in data.texts] + [text.text for data in tagged for text in data.texts]
    return report.EvaluationReport(
        model=engine.name,
        runs_on=engine.description,
        options=options.report,
        labels=tuple(label_reports),
        entities=tuple(entity_reports),
        vectors=_report_vectors(engine, options, sample_texts(texts, _MAX_VECTORS), progress) if options.against else None,
    )


def _report_labels(
    engine: Engine, configs: Sequence[HeadConfig], data: LabelledData, options: EvaluateOptions, progress: Callable[[str], None]
) -> Iterator[report.LabelReport]:
    """Yield a report for each head that has all labels of a file."""
    title, texts = data.source.title, [example.text for example in data.texts]
    if data.is_multi_label:
        raise BadSettings(f"{title}: texts with several labels cannot be evaluated")
    classifiers = [head for head in configs if head.task == "classify"]
    heads = [head for head in classifiers if not head.is_multi_label and set(data.labels) <= set(head.labels)]
    if not heads or not data.labels:
        known = "; ".join(f"{head.name}: {', '.join(head.labels)}" for head in classifiers) or "the model has no such head"
        raise BadSettings(f"{title}: no head has the labels {', '.join(data.labels) or '(none)'} ({known})")
    progress(f"{title}: {len(texts)} texts{_describe_rejected(data)}")
    found = [prediction.labels or {} for prediction in predictions(engine, texts, Task.CLASSIFY)]
    true = [example.labels[0] for example in data.texts]
    for head in heads:
        judged = labels.build_predictions(head.labels, true, [by_head[head.name].scores for by_head in found])
        yield report.build_label_report(head.name, title, judged, texts, temperature=head.temperature, options=options.report)


def _report_entities(
    engine: Engine, configs: Sequence[HeadConfig], data: TaggedData, options: EvaluateOptions, progress: Callable[[str], None]
) -> Iterator[report.EntityReport]:
    """Yield a report for each entity head, about the entity types that the head has."""
    title = data.source.title
    heads = [head for head in configs if head.task == "ner"]
    if not heads or not data.texts:
        raise BadSettings(f"{title}: {'the file has no text' if heads else 'the model has no head for entities'}")
    progress(f"{title}: {len(data.texts)} texts{_describe_rejected(data)}")
    found = [prediction.entities or () for prediction in predictions(engine, [text.text for text in data.texts], Task.NER)]
    for head in heads:
        known = {label[2:] for label in head.labels if label != bio.OUTSIDE}
        names = {kind: kind if kind in known else options.types.get(kind) for kind in data.labels}
        own = LabelMap({kind: name if name in known else None for kind, name in names.items()})
        if left_out := [kind for kind in data.labels if own[kind] is None]:
            progress(f"{title}: the head {head.name} does not know {', '.join(left_out)}, which are left out")
        entities = [tuple(entity for entity in every if entity.task == head.name) for every in found]
        yield report.build_entity_report(
            head.name, title, own.apply(data).texts, entities, temperature=head.temperature, options=options.report
        )


def _report_vectors(
    engine: Engine, options: EvaluateOptions, texts: Sequence[str], progress: Callable[[str], None]
) -> report.VectorReport:
    """Compare the vectors of a model with those of `options.against`."""
    if len(texts) < 3:  # noqa: PLR2004  two texts are one pair, which has no correlation
        raise BadSettings("vectors are compared over at least three different texts")
    # The untuned encoder is not calibrated for int8; it also shows the error of int8.
    dtype: Dtype = "auto" if options.dtype == "int8" else options.dtype
    other = Engine.load(options.against or "", device=options.device, dtype=dtype, backend=options.backend)
    progress(f"vectors of {len(texts)} texts against {other.name}")
    return report.VectorReport(
        against=other.name,
        num_texts=len(texts),
        figures=vectors.compare_vectors(_embed(other, texts), _embed(engine, texts), options.report.draws),
    )


def _describe_rejected(data: LabelledData | TaggedData) -> str:
    num_rejected = data.source.num_rejected
    return f", {num_rejected} rejected by annotators and left out" if num_rejected else ""


def _embed(engine: Engine, texts: Sequence[str]) -> NDArray[np.float32]:
    embeddings = (prediction.embedding for prediction in predictions(engine, texts, Task.EMBED))
    return np.stack([embedding for embedding in embeddings if embedding is not None])


def predictions(engine: Engine, texts: Sequence[str], task: Task) -> Iterator[Prediction]:
    """Yield the prediction for each text; raises `BadModel` if the model fails on a text."""
    record = Record(Partition("evaluation", 0), 0, None, b"")
    for first in range(0, len(texts), _BATCH):
        chunk = texts[first : first + _BATCH]
        items = [Item(record, "", text, frozenset({task})) for text in chunk]
        tokenized = [TokenizedItem(*pair) for pair in zip(items, engine.tokenize(chunk), strict=True)]
        for number, prediction in enumerate(engine.infer(tokenized), start=first + 1):
            if prediction.failures:
                raise BadModel(f"{engine.name}: the model fails on text {number}: {prediction.failures[0].message}")
            yield prediction


def measure_accuracy(engine: Engine, head: str, texts: Sequence[str], true: Sequence[str]) -> float:
    """Return the share of texts with the right label."""
    found = [(prediction.labels or {})[head].label for prediction in predictions(engine, texts, Task.CLASSIFY)]
    return sum(label == gold for label, gold in zip(found, true, strict=True)) / len(true)


def score_entities(engine: Engine, tagged: Sequence[TaggedText], *, head: str | None = None) -> dict[str, spans.Score]:
    """Return the score of each group of `group_spans`, of one head or of all heads."""
    texts = [example.text for example in tagged]
    found = [
        tuple(entity for entity in prediction.entities or () if head in (None, entity.task))
        for prediction in predictions(engine, texts, Task.NER)
    ]
    return {group.name: group.score() for group in spans.group_spans(tagged, found)}


_DIGITS = 4


def compute_scores(engine: Engine, tasks: Sequence[TrainingTask]) -> dict[str, Any]:
    """Return the figures of each head for each held-out file or section."""
    return {
        task.head.name: {
            title: _score_entities(engine, task, texts) if task.head.task == "ner" else _score_labels(engine, task, texts)
            for title, texts in task.held_out.items()
        }
        for task in tasks
    }


def _score_labels(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, float]:
    if task.head.is_multi_label:
        return _score_multi_label(engine, task, texts)
    indices = np.rint(task.get_targets(texts)).astype(int).tolist()
    names = [task.head.labels[index] for index in indices]
    accuracy = measure_accuracy(engine, task.head.name, [task.examples[text].text for text in texts.tolist()], names)
    majority = max(names.count(label) for label in task.head.labels) / len(names)
    return {"accuracy": round(accuracy, _DIGITS), "majority": round(majority, _DIGITS), "texts": len(names)}


def _score_multi_label(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, float]:
    """Return F1 over all labels of all texts."""
    every = predictions(engine, [task.examples[text].text for text in texts.tolist()], Task.CLASSIFY)
    found = [set((prediction.labels or {})[task.head.name].labels or ()) for prediction in every]
    gold = [set(task.examples[text].labels) for text in texts.tolist()]
    num_right = sum(len(own & true) for own, true in zip(found, gold, strict=True))
    f1 = compute_f1(num_right, sum(map(len, found)), sum(map(len, gold)))
    return {"f1": round(f1, _DIGITS), "texts": len(gold)}


def _score_entities(engine: Engine, task: TrainingTask, texts: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    tagged = [example for text in texts.tolist() if isinstance(example := task.examples[text], TaggedText)]
    scores = score_entities(engine, tagged, head=task.head.name)
    return {group: {name: round(value, _DIGITS) for name, value in asdict(score).items()} for group, score in scores.items()}
