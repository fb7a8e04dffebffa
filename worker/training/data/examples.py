"""The nouns of labelled data: a text with its labels, a text with its entities, and all those of one file. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

_BINARY = 2


class Kind(StrEnum):
    """What is learned from data; the value is its name for people."""

    BINARY = "binary"
    MULTI_CLASS = "multi-class"
    MULTI_LABEL = "multi-label"
    ENTITIES = "entities"


@dataclass(frozen=True, slots=True)
class Span:
    """An entity of a text; `start` and `end` are code points."""

    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text and the entities in it, in text order, none overlapping another."""

    text: str
    spans: tuple[Span, ...]
    #: Where it begins in its file: a line, or the number of a row; 0 where it came from no file.
    line: int = field(default=0, compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The type of each entity."""
        return tuple(span.type for span in self.spans)


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its labels: exactly one, or any number of different ones where the data are multi-label."""

    text: str
    labels: tuple[str, ...]
    #: Where it begins in its file: a line, or the number of a row; 0 where it came from no file.
    line: int = field(default=0, compare=False)


Example: TypeAlias = LabelledText | TaggedText
ExampleT = TypeVar("ExampleT", bound=Example)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file, and where."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        """Return `file:line: reason`, as compilers say it."""
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class DataSource:
    """The file that data came from, and how it was read."""

    path: Path
    #: The format and the columns, for people.
    read_as: str = ""
    #: What could not be read and is left out.
    broken: tuple[Problem, ...] = ()
    #: Tags that do not follow their scheme; they were read as the nearest that does.
    malformed: tuple[Problem, ...] = ()
    #: Texts that an annotator rejected or skipped; they are left out.
    num_rejected: int = 0


@dataclass(frozen=True, slots=True)
class LabelledData:
    """The labelled texts of a file."""

    source: DataSource
    texts: tuple[LabelledText, ...]
    is_multi_label: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The different labels, sorted."""
        return _different(self.texts)

    @property
    def kind(self) -> Kind:
        """What can be learned from them."""
        if self.is_multi_label:
            return Kind.MULTI_LABEL
        return Kind.BINARY if len(self.labels) <= _BINARY else Kind.MULTI_CLASS


@dataclass(frozen=True, slots=True)
class TaggedData:
    """The tagged texts of a file."""

    source: DataSource
    texts: tuple[TaggedText, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The different types of entities, sorted."""
        return _different(self.texts)

    @property
    def kind(self) -> Kind:
        """What can be learned from them."""
        return Kind.ENTITIES


Data: TypeAlias = LabelledData | TaggedData


def _different(texts: tuple[Example, ...]) -> tuple[str, ...]:
    return tuple(sorted({label for it in texts for label in it.labels}))
