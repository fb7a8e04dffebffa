"""Statistics of labelled files: classes, lengths, problems, and duplicates within and across files. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from worker.training.data.duplicates import find_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.training.data.examples import Data, Example

_PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


@dataclass(frozen=True, slots=True)
class ClassCount:
    """The number and the share of a label, or of the entities of a type."""

    num: int
    share: float


@dataclass(frozen=True, slots=True)
class FileReport:
    """The statistics of a file."""

    path: str
    read_as: str
    kind: str
    num_texts: int
    #: By label or type, most frequent first.
    classes: dict[str, ClassCount]
    #: Texts without any label or entity.
    num_unlabelled: int
    #: Blank texts.
    num_empty: int
    #: Exact copies of earlier texts.
    num_duplicates: int
    #: Near-duplicates of earlier texts, without the copies.
    num_near_duplicates: int
    #: Duplicates and near-duplicates with other labels.
    num_contradictions: int
    #: By percentile, in `unit`.
    lengths: dict[str, int]
    characters: dict[str, int]
    broken: tuple[str, ...]
    malformed: tuple[str, ...]
    #: Texts that an annotator rejected or skipped, which are left out.
    num_rejected: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """The common texts of two files."""

    first: str
    second: str
    #: Texts of the second file with an exact copy in the first.
    num_duplicates: int
    #: Texts of the second file with a near-duplicate in the first, without the copies.
    num_near_duplicates: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """Statistics of some files, and of their overlaps."""

    files: tuple[FileReport, ...]
    overlaps: tuple[Overlap, ...]
    #: The unit of the lengths.
    unit: str


def build_report(data: Sequence[Data], measure: Callable[[str], int] | None = None, unit: str = "words") -> DataReport:
    """Return the report on some files; `measure` returns the length of a text in `unit`. Unset: words."""
    count = measure or (lambda text: len(text.split()))
    files = tuple(_report_file(one, count) for one in data)
    return DataReport(files, tuple(_find_overlap(one, other) for one, other in combinations(data, 2)), unit)


def _report_file(data: Data, measure: Callable[[str], int]) -> FileReport:
    texts: Sequence[Example] = data.texts
    groups = find_groups(text.text for text in texts)
    counts = Counter(label for text in texts for label in text.labels)
    num_duplicates = len(texts) - len({text.text for text in texts})
    return FileReport(
        path=str(data.source.path),
        read_as=data.source.read_as,
        kind=data.kind,
        num_texts=len(texts),
        classes={label: ClassCount(num, num / counts.total()) for label, num in sorted(counts.items(), key=_order_by_frequency)},
        num_unlabelled=sum(not text.labels for text in texts),
        num_empty=sum(not text.text.strip() for text in texts),
        num_duplicates=num_duplicates,
        num_near_duplicates=len(texts) - len(set(groups)) - num_duplicates,
        num_contradictions=_count_contradictions(texts, groups),
        lengths=percentiles([measure(text.text) for text in texts]),
        characters=percentiles([len(text.text) for text in texts]),
        broken=tuple(map(str, data.source.broken)),
        malformed=tuple(map(str, data.source.malformed)),
        num_rejected=data.source.num_rejected,
    )


def _order_by_frequency(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _count_contradictions(texts: Sequence[Example], groups: Sequence[int]) -> int:
    """Count the texts whose labels differ from the most frequent labels of their group."""
    labels: dict[int, Counter[tuple[str, ...]]] = {}
    for text, group in zip(texts, groups, strict=True):
        labels.setdefault(group, Counter())[tuple(sorted(text.labels))] += 1
    return sum(label.total() - max(label.values()) for label in labels.values())


def _find_overlap(first: Data, second: Data) -> Overlap:
    groups = find_groups([*(text.text for text in first.texts), *(text.text for text in second.texts)])
    copies, known = {text.text for text in first.texts}, set(groups[: len(first.texts)])
    num_duplicates = sum(text.text in copies for text in second.texts)
    num_alike = sum(group in known for group in groups[len(first.texts) :])
    return Overlap(str(first.source.path), str(second.source.path), num_duplicates, num_alike - num_duplicates)


def percentiles(values: Sequence[int]) -> dict[str, int]:
    """Return percentiles by the nearest rank; nothing for no values."""
    ordered = sorted(values)
    return {name: ordered[-(-len(ordered) * percent // 100) - 1] for name, percent in _PERCENTILES.items() if ordered}
