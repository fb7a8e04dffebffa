"""Sentences of words and tags to texts and their entities. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.training.data import schemes
from worker.training.data.examples import Problem, Span, TaggedText

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from worker.training.data.layout import Scheme
    from worker.training.data.schemes import TagRun

_HANDLE = "@"


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and their tags, and the line that each stands in."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...]


def tagged_texts(
    path: Path, sentences: Iterable[Sentence], scheme: Scheme, *, joins_handles: bool
) -> tuple[list[TaggedText], list[Problem]]:
    """Return the text of each sentence with its entities, and where tags do not follow their scheme."""
    texts: list[TaggedText] = []
    malformed: list[Problem] = []
    for it in sentences:
        runs, slips = schemes.decoded(it.tags, scheme)
        malformed += [Problem(path, it.lines[slip.word], slip.reason) for slip in slips]
        texts.append(joined(it, _with_handles(it.words, runs) if joins_handles else runs, joins_handles=joins_handles))
    return texts, malformed


def joined(sentence: Sentence, runs: Iterable[TagRun], *, joins_handles: bool) -> TaggedText:
    """Join the words by spaces, except, where that is wanted, a lone `@` and the word after it."""
    text = ""
    places: list[tuple[int, int]] = []
    previous = None
    for word in sentence.words:
        text += " " if places and not (joins_handles and previous == _HANDLE) else ""
        places.append((len(text), len(text) + len(word)))
        text += word
        previous = word
    spans = tuple(Span(kind, places[first][0], places[end - 1][1]) for kind, first, end in runs)
    return TaggedText(text, spans, sentence.lines[0])


def _with_handles(words: Sequence[str], runs: Iterable[TagRun]) -> list[TagRun]:
    """Let an entity that begins after a lone `@` begin with it, unless the `@` belongs to an entity of another type."""
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
