"""Rename, merge and drop labels, and check labels before training. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from worker.errors import BadSettings
from worker.training.data.examples import LabelledData, LabelledText, TaggedData, TaggedText

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from worker.training.data.examples import Data, Span

_MIN_CLASSES = 2
DataT = TypeVar("DataT", bound="LabelledData | TaggedData")


@dataclass(frozen=True, slots=True)
class LabelMap:
    """New names of labels or of entity types.

    A text whose only label is dropped is dropped, too. In multi-label and entity data, the text stays without the label.
    """

    #: The new name of a label; labels with the same new name are merged; None drops a label.
    names: Mapping[str, str | None] = field(default_factory=dict)
    #: Whether other labels are dropped; else they stay.
    drops_others: bool = False

    def __getitem__(self, label: str) -> str | None:
        """Return the new name of a label; None if the label is dropped."""
        return self.names.get(label, None if self.drops_others else label)

    def apply(self, data: DataT) -> DataT:
        """Return the same data with their new labels."""
        if isinstance(data, TaggedData):
            tagged = (replace(text, spans=tuple(self._rename_spans(text.spans))) for text in data.texts)
            return replace(data, texts=tuple(tagged))
        renamed = [
            replace(text, labels=tuple(dict.fromkeys(filter(None, map(self.__getitem__, text.labels))))) for text in data.texts
        ]
        return replace(data, texts=tuple(text for text in renamed if text.labels or data.is_multi_label))

    def _rename_spans(self, spans: Iterable[Span]) -> Iterator[Span]:
        return (replace(span, type=name) for span in spans if (name := self[span.type]) is not None)


def check_map(label_map: LabelMap, data: Sequence[Data]) -> None:
    """Raise `BadSettings` if a map names a label that no data has, which is a typo."""
    there = sorted({label for dataset in data for label in dataset.labels})
    if unknown := [label for label in label_map.names if label not in there]:
        raise BadSettings(f"the label map names {unknown[0]!r}, which no text has; the labels are {', '.join(there)}")


def check_labels(train: Data, *held_out: Data, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the labels to learn, in order: `wanted`, or the labels of the training data.

    Raises `BadSettings` for data of different tasks, a label without training texts, fewer than two labels, and a held-out text
    with an unknown label.
    """
    labels = tuple(wanted) if wanted is not None else train.labels
    for data in (train, *held_out):
        _check_task(train, data)
        _check_known(data, labels, is_trained_on=data is train)
    counts = Counter(label for text in train.texts for label in set(text.labels))
    if empty := [label for label in labels if not counts[label]]:
        raise BadSettings(f"{train.source.path}: no training text has the label {empty[0]!r}")
    least = _MIN_CLASSES if isinstance(train, LabelledData) and not train.is_multi_label else 1
    if len(labels) < least:
        what = "labels" if isinstance(train, LabelledData) else "entities"
        raise BadSettings(f"{train.source.path}: nothing to learn: the {what} are {', '.join(labels) or 'none'}")
    return labels


def _check_task(train: Data, data: Data) -> None:
    is_same = type(data) is type(train) and getattr(data, "is_multi_label", None) == getattr(train, "is_multi_label", None)
    if not is_same:
        raise BadSettings(f"{data.source.path}: {data.kind}; the training data are {train.kind}")


def _check_known(data: Data, labels: Sequence[str], *, is_trained_on: bool) -> None:
    known = set(labels)
    texts: tuple[LabelledText | TaggedText, ...] = data.texts
    for text in texts:
        if unknown := [label for label in text.labels if label not in known]:
            whose = "to learn" if is_trained_on else "of the training data"
            place = f"{data.source.path}:{text.line}"
            raise BadSettings(f"{place}: the label {unknown[0]!r} is none of the labels {whose}: {', '.join(labels)}")
