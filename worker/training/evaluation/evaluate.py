"""How good a model is, measured as it is served: text in, results out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from worker.errors import BadModel, BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.heads import Head
from worker.model.outputs import bio
from worker.records import Item, Partition, Record, Task, TokenizedItem
from worker.training.data.corpora import spread
from worker.training.data.labels import LabelMap
from worker.training.evaluation import labels, report, spans, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from worker.model.backends.choice import BackendName
    from worker.model.engine import Device, Dtype
    from worker.model.heads import HeadConfig
    from worker.records import Prediction
    from worker.training.data.examples import LabelledData, TaggedData, TaggedText

_BATCH = 64
# Every pair of them is compared.
_MAX_VECTORS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What is evaluated, and how it runs."""

    model: str
    #: The encoder whose similarities should still be there.
    against: str | None = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    backend: BackendName = "auto"
    #: What files call a type of entities that the heads may know by another name; None for what nobody should find.
    types: Mapping[str, str | None] = field(default_factory=dict)
    report: report.EvaluationOptions = field(default_factory=report.EvaluationOptions)


def evaluate(
    options: EvaluateOptions, labelled: Sequence[LabelledData], tagged: Sequence[TaggedData], progress: Callable[[str], None]
) -> report.EvaluationReport:
    """Measure a model on held-out texts; raises `BadModel` for the model and `BadSettings` for texts that it cannot judge."""
    loaded = checkpoint.load(options.model)
    engine = Engine.of(loaded, device=options.device, dtype=options.dtype, backend=options.backend)
    configs = [head.config for head in loaded.heads.heads.values() if isinstance(head, Head)]
    progress(f"{engine.name} on {engine.description}")
    of_labels = [it for data in labelled for it in _label_reports(engine, configs, data, options, progress)]
    of_entities = [it for data in tagged for it in _entity_reports(engine, configs, data, options, progress)]
    texts = [it.text for data in labelled for it in data.texts] + [it.text for data in tagged for it in data.texts]
    return report.EvaluationReport(
        model=engine.name,
        runs_on=engine.description,
        options=options.report,
        labels=tuple(of_labels),
        entities=tuple(of_entities),
        vectors=_vector_report(engine, options, spread(texts, _MAX_VECTORS), progress) if options.against else None,
    )


def _label_reports(
    engine: Engine, configs: Sequence[HeadConfig], data: LabelledData, options: EvaluateOptions, progress: Callable[[str], None]
) -> Iterator[report.LabelReport]:
    """Yield a report of each head that knows all labels of a file."""
    title, texts = _title(data), [it.text for it in data.texts]
    if data.is_multi_label:
        raise BadSettings(f"{title}: its texts have several labels; what is measured is heads that give one")
    heads = [it for it in configs if it.task == "classify" and not it.is_multi_label and set(data.labels) <= set(it.labels)]
    if not heads or not data.labels:
        known = "; ".join(f"{it.name}: {', '.join(it.labels)}" for it in configs if it.task == "classify")
        raise BadSettings(
            f"{title}: no head has the labels {', '.join(data.labels) or '(none)'} ({known or 'there is no such head'})"
        )
    progress(f"{title}: {len(texts)} texts{_left_out(data)}")
    said = [it.labels or {} for it in predictions(engine, texts, Task.CLASSIFY)]
    for head in heads:
        judged = labels.judged(head.labels, [it.labels[0] for it in data.texts], [it[head.name].scores for it in said])
        yield report.of_labels(head.name, title, judged, texts, temperature=head.temperature, options=options.report)


def _entity_reports(
    engine: Engine, configs: Sequence[HeadConfig], data: TaggedData, options: EvaluateOptions, progress: Callable[[str], None]
) -> Iterator[report.EntityReport]:
    """Yield a report of each entity head, on those entities whose type it knows."""
    title = _title(data)
    heads = [it for it in configs if it.task == "ner"]
    if not heads or not data.texts:
        raise BadSettings(f"{title}: {'there is no text in it' if heads else 'the model has no head that finds entities'}")
    progress(f"{title}: {len(data.texts)} texts{_left_out(data)}")
    found = [it.entities or () for it in predictions(engine, [it.text for it in data.texts], Task.NER)]
    for head in heads:
        known = {label[2:] for label in head.labels if label != bio.OUTSIDE}
        names = {kind: kind if kind in known else options.types.get(kind) for kind in data.labels}
        own = LabelMap({kind: name if name in known else None for kind, name in names.items()})
        if left_out := [kind for kind in data.labels if own[kind] is None]:
            progress(f"{title}: {head.name} does not know {', '.join(left_out)}: left out")
        of_head = [tuple(it for it in entities if it.task == head.name) for entities in found]
        tagged = own.tagged(data).texts
        yield report.of_entities(head.name, title, tagged, of_head, temperature=head.temperature, options=options.report)


def _vector_report(
    engine: Engine, options: EvaluateOptions, texts: Sequence[str], progress: Callable[[str], None]
) -> report.VectorReport:
    """Compare the vectors of a model with those of the encoder that it is held against."""
    if len(texts) < 3:  # noqa: PLR2004  two texts are one pair, which correlates with nothing
        raise BadSettings("vectors are compared over three different texts or more")
    # An untouched encoder is not calibrated for 8 bits, and is the measure of what these cost.
    backend: BackendName = "auto" if options.backend == "int8" else options.backend
    other = Engine.load(options.against or "", device=options.device, dtype=options.dtype, backend=backend)
    progress(f"vectors of {len(texts)} texts against {other.name}")
    return report.VectorReport(
        against=other.name,
        num_texts=len(texts),
        figures=vectors.retention(_vectors(other, texts), _vectors(engine, texts), **options.report.drawing),
    )


def _left_out(data: LabelledData | TaggedData) -> str:
    num_rejected = data.source.num_rejected
    return f", {num_rejected} rejected by annotators and left out" if num_rejected else ""


def _title(data: LabelledData | TaggedData) -> str:
    """Return a file's folder and name: what was read, not where it lay."""
    path = data.source.path.absolute()
    return f"{path.parent.name}/{path.name}"


def _vectors(engine: Engine, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([it.embedding for it in predictions(engine, texts, Task.EMBED) if it.embedding is not None])


def predictions(engine: Engine, texts: Sequence[str], task: Task) -> Iterator[Prediction]:
    """Yield what the engine says of each text; raises `BadModel` where it fails on one."""
    nowhere = Record(Partition("evaluation", 0), 0, None, b"")
    for first in range(0, len(texts), _BATCH):
        chunk = texts[first : first + _BATCH]
        tokens = engine.tokenize(chunk)
        items = [Item(nowhere, "", text, frozenset({task})) for text in chunk]
        for number, it in enumerate(engine.infer([TokenizedItem(*pair) for pair in zip(items, tokens, strict=True)]), start=first):
            if it.failures:
                raise BadModel(f"{engine.name}: it fails on text {number + 1}: {it.failures[0].message}")
            yield it


def accuracy(engine: Engine, head: str, texts: Sequence[str], true: Sequence[str]) -> float:
    """Return the share of texts whose label the head gets right."""
    found = [(it.labels or {})[head].label for it in predictions(engine, texts, Task.CLASSIFY)]
    return sum(a == b for a, b in zip(found, true, strict=True)) / len(true)


def entity_scores(engine: Engine, tagged: Sequence[TaggedText], *, head: str | None = None) -> dict[str, spans.Score]:
    """Return the score of each group of entities that `spans.groups` knows, of one head or of all together."""
    said = [it.entities or () for it in predictions(engine, [it.text for it in tagged], Task.NER)]
    found = [tuple(it for it in its if head in (None, it.task)) for its in said]
    return {it.name: it.score() for it in spans.groups(tagged, found)}
