"""Labelled texts, tagged texts, and the texts of a file. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

_BINARY = 2


class DataKind(StrEnum):
    """The task of a data set; the value is shown to users."""

    BINARY = "binary"
    MULTI_CLASS = "multi-class"
    MULTI_LABEL = "multi-label"
    ENTITIES = "entities"


@dataclass(frozen=True, slots=True)
class Span:
    """An entity of a text; `start` and `end` count code points."""

    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text with its entities, in order and without overlaps."""

    text: str
    spans: tuple[Span, ...]
    #: The line or row in the file; 0 for a text without a file.
    line: int = field(default=0, compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The type of each entity."""
        return tuple(span.type for span in self.spans)


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with one label, or with any number of different labels if the data are multi-label."""

    text: str
    labels: tuple[str, ...]
    #: The line or row in the file; 0 for a text without a file.
    line: int = field(default=0, compare=False)


Example: TypeAlias = LabelledText | TaggedText
ExampleT = TypeVar("ExampleT", bound=Example)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a file."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        """Return `file:line: reason`."""
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class DataSource:
    """The file of some data, and how it was read."""

    path: Path
    #: Format and columns, for users.
    read_as: str = ""
    #: Broken rows, which are left out.
    broken: tuple[Problem, ...] = ()
    #: Tags that violate their scheme and were repaired.
    malformed: tuple[Problem, ...] = ()
    #: Texts that an annotator rejected or skipped, which are left out.
    num_rejected: int = 0

    @property
    def title(self) -> str:
        """The file's folder and name, without the path to them."""
        whole = self.path.absolute()
        return f"{whole.parent.name}/{whole.name}"


@dataclass(frozen=True, slots=True)
class LabelledData:
    """The labelled texts of a file."""

    source: DataSource
    texts: tuple[LabelledText, ...]
    is_multi_label: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The different labels, sorted."""
        return _collect_labels(self.texts)

    @property
    def kind(self) -> DataKind:
        """The task of the texts."""
        if self.is_multi_label:
            return DataKind.MULTI_LABEL
        return DataKind.BINARY if len(self.labels) <= _BINARY else DataKind.MULTI_CLASS


@dataclass(frozen=True, slots=True)
class TaggedData:
    """The tagged texts of a file."""

    source: DataSource
    texts: tuple[TaggedText, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The different types of entities, sorted."""
        return _collect_labels(self.texts)

    @property
    def kind(self) -> DataKind:
        """The task of the texts."""
        return DataKind.ENTITIES


Data: TypeAlias = LabelledData | TaggedData


def _collect_labels(texts: tuple[Example, ...]) -> tuple[str, ...]:
    return tuple(sorted({label for text in texts for label in text.labels}))
