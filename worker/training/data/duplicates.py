"""Which texts are nearly the same. Pure, exact, and the same in any order of the texts.

Two texts are near-duplicates where the sets of their words are alike: what both have is at least four fifths of what either has
(Jaccard's index of 0.8 or more). A word is a run of letters and digits, or one character of a script that is written without
blanks, or one pictograph. Case, width, which digits, which address, whose @handle, punctuation, order and repetition do not count.
A text without any word is what its other characters are. So a text of up to three words has those with the same words alone for
near-duplicates, and of nine words one may be another.

Near-duplicates of near-duplicates belong together too: a group is all that can be reached.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# How much of what either has must be in both: so many in so many.
_ALIKE, _OF = 4, 5
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_HANDLE = re.compile(r"(?<!\w)@\s?\w+")
_DIGITS = re.compile(r"\d+")
# Scripts that part words by nothing (Thai to Khmer, kana, Han) count by the character, and so do pictographs.
_ALONE = (
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3040-\u30ff\u3400-\u9fff\U0001f000-\U0001faff\U00020000-\U0003ffff]"
)
_WORD = re.compile(rf"<[uh]>|{_ALONE}|(?:(?!{_ALONE})[^\W_])+")


def split_words(text: str) -> frozenset[str]:
    """Return the different words of a text, as they are compared."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = _DIGITS.sub("0", _HANDLE.sub(" <h> ", _ADDRESS.sub(" <u> ", plain)))
    return frozenset(_WORD.findall(plain)) or frozenset(plain.split())


def are_alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Tell whether two sets of words are those of near-duplicates."""
    num_both = len(one & other)
    return _OF * num_both >= _ALIKE * (len(one) + len(other) - num_both)


def build_key(words: frozenset[str]) -> str:
    """Return a text that stands for a set of words."""
    return " ".join(sorted(words))


def find_groups(texts: Iterable[str]) -> list[int]:
    """Return the group of each text, numbered in the order in which they are met; those of one group have the same number."""
    sets = [split_words(it) for it in texts]
    different = list(dict.fromkeys(sets))
    place = {words: number for number, words in enumerate(different)}
    forest = _Forest(len(different))
    for one, other in _candidates(different):
        if forest.root(one) != forest.root(other) and are_alike(different[one], different[other]):
            forest.join(one, other)
    number_of: dict[int, int] = {}
    return [number_of.setdefault(forest.root(place[words]), len(number_of)) for words in sets]


def _candidates(sets: Sequence[frozenset[str]]) -> Iterator[tuple[int, int]]:
    """Yield all pairs that may be alike, and few others.

    Two sets that have at least four fifths in common have a word in common among the rarest fifth (and one more) of each, in one
    order for all (Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity joins", ICDE 2006): others are never compared.
    """
    counts = Counter(word for words in sets for word in words)
    seen: defaultdict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(sets)), key=lambda it: len(sets[it])):
        words = sets[number]
        num_rarest = len(words) - -(-len(words) * _ALIKE // _OF) + 1
        rarest = sorted(words, key=lambda word: (counts[word], word))[:num_rarest]
        others = {other for word in rarest for other in seen[word] if _OF * len(sets[other]) >= _ALIKE * len(words)}
        for other in others:
            yield other, number
        for word in rarest:
            seen[word].append(number)


class _Forest:
    """Disjoint sets of numbers, each known by its root."""

    def __init__(self, size: int) -> None:
        """Begin with each number alone."""
        # The parent of each number; a root is its own.
        self._parents = list(range(size))

    def root(self, number: int) -> int:
        """Return the root of the set of a number, and shorten the way to it."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Make one set of those of two numbers."""
        self._parents[self.root(other)] = self.root(one)
