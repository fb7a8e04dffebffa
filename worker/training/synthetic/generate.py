"""Generate different texts, none a near-duplicate of a held-out text. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from worker.training.data.duplicates import are_alike, split_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.training.data.examples import TaggedText

# The maximum number of attempts per text.
_ATTEMPTS = 20
# The least share of common words of near-duplicates: 4 of 5.
_ALIKE, _OF = 4, 5


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
        self._of_word: defaultdict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._sets):
            for word in words:
                self._of_word[word].append(number)

    def has_similar(self, text: str) -> bool:
        """Return whether a held-out text is a near-duplicate of a text.

        Near-duplicates share one of any fifth (plus one) of the words, so the rarest words are looked up.
        """
        words = split_words(text)
        num_looked_up = len(words) - -(-len(words) * _ALIKE // _OF) + 1
        rarest = sorted(words, key=lambda word: (len(self._of_word.get(word, ())), word))[:num_looked_up]
        others = {number for word in rarest for number in self._of_word.get(word, ())}
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
