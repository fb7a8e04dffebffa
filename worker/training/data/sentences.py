"""Turn sentences of words and tags into texts with entities. Pure."""

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
        runs, violations = schemes.decode_tags(sentence.tags, scheme)
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
