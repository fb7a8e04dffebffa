"""Turn words and their tags into texts with entities, for all usual schemes. Pure.

Tags that violate their scheme are repaired and reported: a continued entity that has not begun begins there, and an entity without
an end ends before the next word that does not continue it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from worker.training.data.examples import Problem, Span, TaggedText
from worker.training.data.layout import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


OUTSIDE = "O"
_TAG = re.compile(r"O|[BIESLU]-\S.*")
_MARKS = {Scheme.IOB1: "BI", Scheme.IOB2: "BI", Scheme.IOBES: "BIES", Scheme.BILOU: "BILU"}
_AS_IOBES = {"L": "E", "U": "S"}


class TagRun(NamedTuple):
    """An entity: its type, its first word and the word after its last."""

    type: str
    first: int
    end: int


class Violation(NamedTuple):
    """A word whose tag violates the scheme, and the reason."""

    word: int
    reason: str


def is_tag(text: str) -> bool:
    """Return whether a text is a tag of any scheme."""
    return _TAG.fullmatch(text) is not None


def is_scheme_tag(text: str, scheme: Scheme) -> bool:
    """Return whether a tag belongs to a scheme."""
    return is_tag(text) and (text == OUTSIDE or text[0] in _MARKS[scheme])


def detect_scheme(sentences: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme that all or most tags of some sentences follow."""
    marks: Counter[str] = Counter()
    num_stray: Counter[str] = Counter()
    for tags in sentences:
        for previous, tag in zip([OUTSIDE, *tags], tags, strict=False):
            marks[tag[0]] += 1
            if tag != OUTSIDE and previous[1:] != tag[1:]:
                num_stray[tag[0]] += 1
    if num_last := marks["L"] + marks["U"]:
        return Scheme.BILOU if num_last > marks["E"] + marks["S"] else Scheme.IOBES
    if marks["E"] + marks["S"]:
        return Scheme.IOBES
    return Scheme.IOB1 if num_stray["I"] > num_stray["B"] else Scheme.IOB2


def decode_tags(tags: Sequence[str], scheme: Scheme) -> tuple[list[TagRun], list[Violation]]:
    """Return the entities of a sentence, and the violations of the scheme; all tags must be tags of the scheme."""
    runs: list[TagRun] = []
    violations = list(_find_violations(tags, scheme))
    first = None
    is_closed = True
    for word, (previous, tag) in enumerate(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True)):
        mark = _get_mark(tag)
        is_same = previous[1:] == tag[1:] and tag != OUTSIDE
        is_continued = first is not None and is_same and mark in "IE" and not is_closed
        if first is not None and not is_continued:
            runs.append(TagRun(previous[2:], first, word))
            first = None
        if tag != OUTSIDE and not is_continued:
            first = word
        is_closed = mark in "ES"
    return runs, violations


def _get_mark(tag: str) -> str:
    return _AS_IOBES.get(tag[0], tag[0])


def _find_violations(tags: Sequence[str], scheme: Scheme) -> Iterator[Violation]:
    has_ends = scheme in (Scheme.IOBES, Scheme.BILOU)
    for word, (previous, tag) in enumerate(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True)):
        mark, before = _get_mark(tag), _get_mark(previous)
        is_open = before in "BI" and previous[1:] == tag[1:]
        if scheme is Scheme.IOB1:
            if mark == "B" and not is_open:
                yield Violation(word, f"{tag} after {previous}, where {scheme} has I-")
        elif mark in "IE" and not is_open:
            yield Violation(word, f"{tag} after {previous}, which continues no entity of this type")
        if has_ends and before in "BI" and not (mark in "IE" and is_open):
            yield Violation(word - 1, f"{previous} before {tag}, which does not end the entity")


_HANDLE = "@"


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words with their tags and lines."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...]


def build_texts(
    path: Path, sentences: Iterable[Sentence], scheme: Scheme, *, joins_handles: bool
) -> tuple[list[TaggedText], list[Problem]]:
    """Return the text of each sentence with its entities, and the violations of the scheme."""
    texts: list[TaggedText] = []
    malformed: list[Problem] = []
    for sentence in sentences:
        runs, violations = decode_tags(sentence.tags, scheme)
        malformed += [Problem(path, sentence.lines[violation.word], violation.reason) for violation in violations]
        if joins_handles:
            runs = _extend_to_handles(sentence.words, runs)
        texts.append(join_words(sentence, runs, joins_handles=joins_handles))
    return texts, malformed


def join_words(sentence: Sentence, runs: Iterable[TagRun], *, joins_handles: bool) -> TaggedText:
    """Join words by spaces; `joins_handles` joins a lone `@` and the word after it without a space."""
    text = ""
    ranges: list[tuple[int, int]] = []
    previous = None
    for word in sentence.words:
        text += " " if ranges and not (joins_handles and previous == _HANDLE) else ""
        ranges.append((len(text), len(text) + len(word)))
        text += word
        previous = word
    spans = tuple(Span(kind, ranges[first][0], ranges[end - 1][1]) for kind, first, end in runs)
    return TaggedText(text, spans, sentence.lines[0])


def _extend_to_handles(words: Sequence[str], runs: Iterable[TagRun]) -> list[TagRun]:
    """Extend an entity that begins after a lone `@` to the `@`, unless the `@` belongs to an entity of another type."""
    found: list[TagRun] = []
    for run in runs:
        at = run.first - 1
        if run.first == 0 or words[at] != _HANDLE:
            found.append(run)
        elif not found or found[-1].end <= at:
            found.append(run._replace(first=at))
        elif found[-1].type == run.type:
            found[-1] = found[-1]._replace(end=run.end)
        else:
            found.append(run)
    return found
