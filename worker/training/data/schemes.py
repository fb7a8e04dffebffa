"""Tags of words to entities, whatever scheme they follow. Pure.

Tags that do not follow their scheme are read as the nearest that do, and told of: an entity that is continued without having begun
begins there, and one that never ends, ends before the next word that is not its own.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from worker.training.data.layout import Scheme

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OUTSIDE = "O"
_TAG = re.compile(r"O|[BIESLU]-\S.*")
_MARKS = {Scheme.IOB1: "BI", Scheme.IOB2: "BI", Scheme.IOBES: "BIES", Scheme.BILOU: "BILU"}
_AS_IOBES = {"L": "E", "U": "S"}


class TagRun(NamedTuple):
    """An entity: its type, its first word and the word after its last."""

    type: str
    first: int
    end: int


class Slip(NamedTuple):
    """A word whose tag does not follow the scheme, and why."""

    word: int
    reason: str


def is_tag(text: str) -> bool:
    """Tell whether it could be a tag of some scheme."""
    return _TAG.fullmatch(text) is not None


def is_scheme_tag(text: str, scheme: Scheme) -> bool:
    """Tell whether a tag belongs to a scheme."""
    return is_tag(text) and (text == OUTSIDE or text[0] in _MARKS[scheme])


def detected(sentences: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme that the tags of some sentences follow, or that most of them follow."""
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


def decoded(tags: Sequence[str], scheme: Scheme) -> tuple[list[TagRun], list[Slip]]:
    """Return the entities of a sentence, and what does not follow the scheme; the tags must be its own."""
    runs: list[TagRun] = []
    slips = list(_slips(tags, scheme))
    first = None
    is_closed = True
    for word, (previous, tag) in enumerate(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True)):
        mark = _mark(tag)
        is_same = previous[1:] == tag[1:] and tag != OUTSIDE
        is_continued = first is not None and is_same and mark in "IE" and not is_closed
        if first is not None and not is_continued:
            runs.append(TagRun(previous[2:], first, word))
            first = None
        if tag != OUTSIDE and not is_continued:
            first = word
        is_closed = mark in "ES"
    return runs, slips


def _mark(tag: str) -> str:
    return _AS_IOBES.get(tag[0], tag[0])


def _slips(tags: Sequence[str], scheme: Scheme) -> Iterator[Slip]:
    has_ends = scheme in (Scheme.IOBES, Scheme.BILOU)
    for word, (previous, tag) in enumerate(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True)):
        mark, before = _mark(tag), _mark(previous)
        is_open = before in "BI" and previous[1:] == tag[1:]
        if scheme is Scheme.IOB1:
            if mark == "B" and not is_open:
                yield Slip(word, f"{tag} after {previous}, where {scheme} has I-")
        elif mark in "IE" and not is_open:
            yield Slip(word, f"{tag} after {previous}, where nothing of its type has begun")
        if has_ends and before in "BI" and not (mark in "IE" and is_open):
            yield Slip(word - 1, f"{previous} before {tag}, where its entity has not ended")
