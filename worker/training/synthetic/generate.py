"""As many texts as are wanted, all different, and none that is nearly one by which a head is judged. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from worker.training.data.duplicates import are_alike, split_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.training.data.examples import TaggedText

# Of so many attempts for each text that is wanted, all but one may come to nothing.
_ATTEMPTS = 20
# Two near-duplicates share at least so much of what either has.
_ALIKE, _OF = 4, 5


class Generator(Protocol):
    """Makes texts by chance."""

    def text(self, random: Random) -> TaggedText:
        """Return another text."""


@dataclass(frozen=True, slots=True)
class GeneratedTexts:
    """Texts that were made."""

    texts: tuple[TaggedText, ...]
    #: How many were left out because they are nearly a held-out text.
    num_like_held_out: int
    #: How many were left out because they were made already.
    num_repeated: int


class HeldOutTexts:
    """The texts that nothing may be like."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Index them by their words."""
        self._sets = list({split_words(text) for text in texts})
        self._of_word: defaultdict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._sets):
            for word in words:
                self._of_word[word].append(number)

    def has_like(self, text: str) -> bool:
        """Tell whether a text is nearly one of them.

        It shares four fifths of its words then, so of any fifth of them and one more it shares one: the rarest are looked up.
        """
        words = split_words(text)
        num_looked_up = len(words) - -(-len(words) * _ALIKE // _OF) + 1
        rarest = sorted(words, key=lambda word: (len(self._of_word.get(word, ())), word))[:num_looked_up]
        others = {number for word in rarest for number in self._of_word.get(word, ())}
        return any(are_alike(words, self._sets[other]) for other in others)


def generate(makers: Sequence[Generator], count: int, held_out: HeldOutTexts, *, seed: int) -> GeneratedTexts:
    """Return at most `count` texts, from each maker in turn; fewer where the makers have no more to say."""
    # The numbers only have to be the same for the same seed.
    random = Random(seed)  # noqa: S311
    found: dict[str, TaggedText] = {}
    num_like = num_repeated = 0
    for attempt in range(count * _ATTEMPTS):
        if len(found) == count:
            break
        text = makers[attempt % len(makers)].text(random)
        if text.text in found:
            num_repeated += 1
        elif held_out.has_like(text.text):
            num_like += 1
        else:
            found[text.text] = text
    return GeneratedTexts(tuple(found.values()), num_like, num_repeated)
