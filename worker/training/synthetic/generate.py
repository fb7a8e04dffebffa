"""Generate different texts, none a near-duplicate of a held-out text. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from worker.errors import BadSettings
from worker.training.data.duplicates import are_alike, select_rarest, split_words
from worker.training.data.examples import Span, TaggedText

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# The maximum number of attempts per text.
_ATTEMPTS = 20


class Generator(Protocol):
    """A source of random texts."""

    def draw(self, random: Random) -> TaggedText:
        """Return a random text."""


@dataclass(frozen=True, slots=True)
class GeneratedTexts:
    """Generated texts."""

    texts: tuple[TaggedText, ...]
    #: The number of dropped near-duplicates of held-out texts.
    num_similar: int
    #: The number of dropped repetitions.
    num_repeated: int


class HeldOutTexts:
    """An index of held-out texts for near-duplicates."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._sets = list({split_words(text) for text in texts})
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._sets):
            for word in words:
                self._numbers[word].append(number)

    def has_similar(self, text: str) -> bool:
        """Return whether a held-out text is a near-duplicate of a text."""
        words = split_words(text)
        rarest = select_rarest(words, lambda word: len(self._numbers.get(word, ())))
        others = {number for word in rarest for number in self._numbers.get(word, ())}
        return any(are_alike(words, self._sets[other]) for other in others)


def generate(generators: Sequence[Generator], count: int, held_out: HeldOutTexts, *, seed: int) -> GeneratedTexts:
    """Return at most `count` texts, from each generator in turn; fewer if the generators repeat themselves."""
    random = Random(seed)  # noqa: S311
    found: dict[str, TaggedText] = {}
    num_similar = num_repeated = 0
    for attempt in range(count * _ATTEMPTS):
        if len(found) == count:
            break
        text = generators[attempt % len(generators)].draw(random)
        if text.text in found:
            num_repeated += 1
        elif held_out.has_similar(text.text):
            num_similar += 1
        else:
            found[text.text] = text
    return GeneratedTexts(tuple(found.values()), num_similar, num_repeated)


class MentionReplacement:
    """A generator that replaces entities by those of other texts."""

    def __init__(self, texts: Sequence[TaggedText]) -> None:
        """Collect the entities of `texts`; raises `BadSettings` if no type has two different entities."""
        mentions: dict[str, dict[str, None]] = {}
        for text in texts:
            for span in text.spans:
                mentions.setdefault(span.type, {})[text.text[span.start : span.end]] = None
        # Each different entity once: frequent entities are known already.
        self._mentions = {kind: tuple(own_mentions) for kind, own_mentions in mentions.items() if len(own_mentions) > 1}
        self._texts = [text for text in texts if any(span.type in self._mentions for span in text.spans)]
        if not self._texts:
            raise BadSettings("no entities to swap: at least one type needs two different entities")

    def draw(self, random: Random) -> TaggedText:
        """Return a random text in which other entities of the same types replace the entities."""
        source = random.choice(self._texts)
        parts, spans, end, length = [], [], 0, 0
        for span in source.spans:
            before, own = source.text[end : span.start], source.text[span.start : span.end]
            others = [other for other in self._mentions.get(span.type, ()) if other != own]
            mention = random.choice(others) if others else own
            length += len(before)
            spans.append(Span(span.type, length, length + len(mention)))
            parts += [before, mention]
            length, end = length + len(mention), span.end
        return TaggedText("".join([*parts, source.text[end:]]), tuple(spans))
