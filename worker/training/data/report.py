"""What stands in files of labelled texts: classes, lengths, duplicates within and across them, and what is wrong. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from worker.training.data.duplicates import find_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.training.data.examples import Data, Example

_PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How often a label, or an entity of a type, occurs, and its share of all of them."""

    num: int
    share: float


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file."""

    path: str
    read_as: str
    kind: str
    num_texts: int
    #: By label or type, the most frequent first.
    classes: dict[str, ClassCount]
    #: Texts without any label or entity.
    num_unlabelled: int
    #: Texts of nothing but blanks.
    num_empty: int
    #: Texts that repeat another to the letter; the first of them is not counted.
    num_duplicates: int
    #: Texts that nearly repeat another, beyond those.
    num_near_duplicates: int
    #: Texts that repeat another, nearly or wholly, under other labels.
    num_contradictions: int
    #: By percentile, in words or what else was counted.
    lengths: dict[str, int]
    characters: dict[str, int]
    broken: tuple[str, ...]
    malformed: tuple[str, ...]
    #: Texts that an annotator rejected or skipped; they are left out.
    num_rejected: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two files have in common."""

    first: str
    second: str
    #: Texts of the second file that stand in the first to the letter.
    num_duplicates: int
    #: Texts of the second file that nearly stand in the first, beyond those.
    num_near_duplicates: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """Some files, and what they have in common."""

    files: tuple[FileReport, ...]
    overlaps: tuple[Overlap, ...]
    #: What the lengths count.
    unit: str

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def report(data: Sequence[Data], length_of: Callable[[str], int] | None = None, unit: str = "words") -> DataReport:
    """Return the report on some files; `length_of` counts a text in `unit`, by blanks if it is not given."""
    count = length_of or (lambda text: len(text.split()))
    files = tuple(_file(one, count) for one in data)
    return DataReport(files, tuple(_overlap(one, other) for one, other in combinations(data, 2)), unit)


def _file(data: Data, length_of: Callable[[str], int]) -> FileReport:
    texts: Sequence[Example] = data.texts
    groups = find_groups(it.text for it in texts)
    counts = Counter(label for it in texts for label in it.labels)
    num_duplicates = len(texts) - len({it.text for it in texts})
    return FileReport(
        path=str(data.source.path),
        read_as=data.source.read_as,
        kind=data.kind,
        num_texts=len(texts),
        classes={label: ClassCount(num, num / counts.total()) for label, num in sorted(counts.items(), key=_frequent_first)},
        num_unlabelled=sum(not it.labels for it in texts),
        num_empty=sum(not it.text.strip() for it in texts),
        num_duplicates=num_duplicates,
        num_near_duplicates=len(texts) - len(set(groups)) - num_duplicates,
        num_contradictions=_num_contradictions(texts, groups),
        lengths=percentiles([length_of(it.text) for it in texts]),
        characters=percentiles([len(it.text) for it in texts]),
        broken=tuple(map(str, data.source.broken)),
        malformed=tuple(map(str, data.source.malformed)),
        num_rejected=data.source.num_rejected,
    )


def _frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _num_contradictions(texts: Sequence[Example], groups: Sequence[int]) -> int:
    """Count the texts whose labels are not those that most of their group have."""
    labels: dict[int, Counter[tuple[str, ...]]] = {}
    for it, group in zip(texts, groups, strict=True):
        labels.setdefault(group, Counter())[tuple(sorted(it.labels))] += 1
    return sum(it.total() - max(it.values()) for it in labels.values())


def _overlap(first: Data, second: Data) -> Overlap:
    groups = find_groups([*(it.text for it in first.texts), *(it.text for it in second.texts)])
    there, known = {it.text for it in first.texts}, set(groups[: len(first.texts)])
    num_duplicates = sum(it.text in there for it in second.texts)
    num_alike = sum(it in known for it in groups[len(first.texts) :])
    return Overlap(str(first.source.path), str(second.source.path), num_duplicates, num_alike - num_duplicates)


def percentiles(values: Sequence[int]) -> dict[str, int]:
    """Return percentiles by the nearest rank: each is one of the values. Nothing for no values."""
    ordered = sorted(values)
    return {f"p{it}" if it < 100 else "max": ordered[-(-len(ordered) * it // 100) - 1] for it in _PERCENTILES if ordered}  # noqa: PLR2004
