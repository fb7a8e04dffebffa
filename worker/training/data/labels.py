"""Labels renamed, merged and dropped, and what must hold of them before anything is learned. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.training.data.examples import LabelledData, LabelledText, TaggedData, TaggedText

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from worker.training.data.examples import Data

_MIN_CLASSES = 2


@dataclass(frozen=True, slots=True)
class LabelMap:
    """What becomes of labels, or of types of entities.

    A text whose only label is dropped is dropped too; where texts may have several labels, or entities, it stays without it.
    """

    #: The new name of a label; two with the same new name are merged; None drops it.
    names: Mapping[str, str | None] = field(default_factory=dict)
    #: Whether labels that are not named are dropped, or stay as they are.
    drops_others: bool = False

    def __getitem__(self, label: str) -> str | None:
        """Return what becomes of a label; None where it is dropped."""
        return self.names.get(label, None if self.drops_others else label)

    def labelled(self, data: LabelledData) -> LabelledData:
        """Return labelled texts with their new labels."""
        texts = [replace(it, labels=tuple(dict.fromkeys(self._of(it.labels)))) for it in data.texts]
        return replace(data, texts=tuple(it for it in texts if it.labels or data.is_multi_label))

    def tagged(self, data: TaggedData) -> TaggedData:
        """Return tagged texts with their new types."""
        return replace(data, texts=tuple(self._tagged(it) for it in data.texts))

    def apply(self, data: Data) -> Data:
        """Return the same data with their new labels."""
        return self.labelled(data) if isinstance(data, LabelledData) else self.tagged(data)

    def _tagged(self, text: TaggedText) -> TaggedText:
        return replace(text, spans=tuple(replace(it, type=name) for it in text.spans if (name := self[it.type]) is not None))

    def _of(self, labels: Iterable[str]) -> Iterator[str]:
        return (name for it in labels if (name := self[it]) is not None)


def check_map(label_map: LabelMap, data: Sequence[Data]) -> None:
    """Raise `BadSettings` where a map names a label that none of the data has: it is a slip of the pen."""
    there = sorted({label for it in data for label in it.labels})
    if unknown := [label for label in label_map.names if label not in there]:
        raise BadSettings(f"the label map names {unknown[0]!r}, which no text has; the labels are {', '.join(there)}")


def check_labels(train: Data, *held_out: Data, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the labels to learn, in order: those that are wanted, or those of the training data.

    Raises `BadSettings` where the data are of different tasks, where a label has no training text, where there is nothing to tell
    apart, and where held-out data have a label that cannot be learned.
    """
    labels = tuple(wanted) if wanted is not None else train.labels
    for data in (train, *held_out):
        _check_task(train, data)
        _check_known(data, labels, is_trained_on=data is train)
    counts = Counter(label for it in train.texts for label in set(it.labels))
    if empty := [label for label in labels if not counts[label]]:
        raise BadSettings(f"{train.source.path}: no training text has the label {empty[0]!r}")
    least = _MIN_CLASSES if isinstance(train, LabelledData) and not train.is_multi_label else 1
    if len(labels) < least:
        what = "labels" if isinstance(train, LabelledData) else "entities"
        raise BadSettings(f"{train.source.path}: nothing to learn: its {what} are {', '.join(labels) or 'none'}")
    return labels


def _check_task(train: Data, data: Data) -> None:
    is_same = type(data) is type(train) and getattr(data, "is_multi_label", None) == getattr(train, "is_multi_label", None)
    if not is_same:
        raise BadSettings(f"{data.source.path}: {data.kind}, where the training data are {train.kind}")


def _check_known(data: Data, labels: Sequence[str], *, is_trained_on: bool) -> None:
    known = set(labels)
    texts: tuple[LabelledText | TaggedText, ...] = data.texts
    for text in texts:
        if unknown := [it for it in text.labels if it not in known]:
            whose = "to be learned" if is_trained_on else "of the training data"
            place = f"{data.source.path}:{text.line}"
            raise BadSettings(f"{place}: the label {unknown[0]!r} is none {whose}, which are {', '.join(labels)}")
