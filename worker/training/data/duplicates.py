"""Find near-duplicate texts. Pure, exact, and independent of the order of the texts.

Two texts are near-duplicates if Jaccard's index of their sets of words is at least 0.8. A word is a run of letters and digits, a
character of a script without spaces, or a pictograph. Case, width, punctuation, order, repetition, the value of digits, addresses
and the names of @handles do not count. A text without words is compared by its other characters. Texts with at most three words
are near-duplicates if they have the same words; of nine words, one word may differ.

Near-duplication is transitive: a group contains all texts that a chain of near-duplicates connects.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# The least share of common words: 4 of 5.
_ALIKE, _OF = 4, 5
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_HANDLE = re.compile(r"(?<!\w)@\s?\w+")
_DIGITS = re.compile(r"\d+")
# In scripts without spaces (Thai to Khmer, kana, Han) each character is a word, as is each pictograph.
_ALONE = (
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3040-\u30ff\u3400-\u9fff\U0001f000-\U0001faff\U00020000-\U0003ffff]"
)
_WORD = re.compile(rf"<[uh]>|{_ALONE}|(?:(?!{_ALONE})[^\W_])+")


def split_words(text: str) -> frozenset[str]:
    """Return the set of a text's words, normalised for comparison."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = _DIGITS.sub("0", _HANDLE.sub(" <h> ", _ADDRESS.sub(" <u> ", plain)))
    return frozenset(_WORD.findall(plain)) or frozenset(plain.split())


def are_alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Return whether two sets of words belong to near-duplicates."""
    num_both = len(one & other)
    return _OF * num_both >= _ALIKE * (len(one) + len(other) - num_both)


def build_key(words: frozenset[str]) -> str:
    """Return a text that identifies a set of words."""
    return " ".join(sorted(words))


def find_groups(texts: Iterable[str]) -> list[int]:
    """Return the number of each text's group, in the order of the texts."""
    sets = [split_words(text) for text in texts]
    different = list(dict.fromkeys(sets))
    # Disjoint sets of numbers (union-find): the parent of each number; a root is its own.
    parents = list(range(len(different)))

    def find_root(number: int) -> int:
        while parents[number] != number:
            parents[number] = number = parents[parents[number]]
        return number

    for one, other in _find_candidates(different):
        first, second = find_root(one), find_root(other)
        if first != second and are_alike(different[one], different[other]):
            parents[second] = first
    roots = {words: find_root(number) for number, words in enumerate(different)}
    numbers: dict[int, int] = {}
    return [numbers.setdefault(roots[words], len(numbers)) for words in sets]


def select_rarest(words: frozenset[str], count: Callable[[str], int]) -> list[str]:
    """Return the rarest fifth (plus one) of some words.

    A near-duplicate has one of these words (Chaudhuri, Ganti and Kaushik, "A primitive operator for similarity joins", ICDE 2006).
    """
    num_rarest = len(words) - -(-len(words) * _ALIKE // _OF) + 1
    return sorted(words, key=lambda word: (count(word), word))[:num_rarest]


def _find_candidates(sets: Sequence[frozenset[str]]) -> Iterator[tuple[int, int]]:
    """Yield all pairs that may be near-duplicates, and few others: near-duplicates have a rarest word in common."""
    counts = Counter(word for words in sets for word in words)
    seen: defaultdict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(sets)), key=lambda number: len(sets[number])):
        rarest = select_rarest(sets[number], counts.__getitem__)
        others = {other for word in rarest for other in seen[word] if _OF * len(sets[other]) >= _ALIKE * len(sets[number])}
        yield from ((other, number) for other in others)
        for word in rarest:
            seen[word].append(number)
