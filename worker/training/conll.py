"""Named-entity corpora in CoNLL form: one token and its tag a line, an empty line after each sentence. Pure but for the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.model import bio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# What published corpora call the three types that we know; whatever is not named here is not an entity to us.
TYPES = {
    "PER": "PER",
    "ORG": "ORG",
    "LOC": "LOC",
    "person": "PER",
    "corporation": "ORG",
    "group": "ORG",
    "location": "LOC",
}
_HANDLE = "@"


@dataclass(frozen=True, slots=True)
class Span:
    """An entity of a text, in code points."""

    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text and the entities in it."""

    text: str
    spans: tuple[Span, ...]


def read(path: Path) -> list[TaggedText]:
    """Read a file with IOB1 or IOB2 tags in its last column; raises `BadSettings` with file, line and reason."""
    return [_tagged(sentence) for sentence in _sentences(path)]


def _sentences(path: Path) -> Iterator[list[tuple[str, str]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: cannot be read: {error}") from error
    sentence: list[tuple[str, str]] = []
    for number, line in enumerate([*lines, ""], start=1):
        if not line.strip():
            if sentence:
                yield sentence
            sentence = []
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        tag = columns[-1].strip()
        if len(columns) < 2 or not (tag == bio.OUTSIDE or tag[:2] in ("B-", "I-")):  # noqa: PLR2004
            raise BadSettings(f"{path}:{number}: not a token and an IOB tag: {line[:60]!r}")
        sentence.append((columns[0].strip() or "\N{REPLACEMENT CHARACTER}", tag))


def _tagged(sentence: Sequence[tuple[str, str]]) -> TaggedText:
    """Join the tokens by spaces, except that an `@` stays with its name and is one entity with it."""
    text = ""
    tokens: list[tuple[int, int]] = []
    path: list[str] = []
    previous = bio.OUTSIDE
    is_after_at = False
    for token, tag in sentence:
        text += "" if is_after_at or not text else " "
        tokens.append((len(text), len(text) + len(token)))
        text += token
        kind = TYPES.get(tag[2:])
        label = f"{tag[0]}-{kind}" if kind else bio.OUTSIDE
        if is_after_at and kind and previous == bio.OUTSIDE:
            path[-1] = previous = f"B-{kind}"
        is_continued = label[1:] == previous[1:] and label != bio.OUTSIDE and (label[0] == "I" or is_after_at)
        path.append(f"I-{kind}" if is_continued else label.replace("I-", "B-"))
        previous, is_after_at = path[-1], token == _HANDLE
    spans = tuple(Span(kind, tokens[first][0], tokens[end - 1][1]) for kind, first, end in bio.entities(path))
    return TaggedText(text, spans)
