"""Split texts into three sides: for training, for the choice of the best epoch, and for the score of a head. Pure.

Near-duplicates (`duplicates`) are on the same side: a whole group goes to one side. The same texts, shares and seed give the same
sides in any order of the texts. Labels have the same shares on all sides, as far as groups allow.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic

from worker.errors import BadSettings
from worker.training.data.duplicates import build_key, find_groups, split_words
from worker.training.data.examples import ExampleT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# The tolerance of the sum of shares.
_TINY = 1e-6


class Side(StrEnum):
    """A side of a split."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The share of the texts on each side; the sum is 1."""

    train: float = 0.8
    dev: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what are no shares of one whole, or leave nothing to learn from."""
        every = (self.train, self.dev, self.test)
        if min(every) < 0 or self.train == 0 or not math.isclose(sum(every), 1, abs_tol=_TINY):
            raise BadSettings(f"shares of train, dev and test must add up to 1, with some for train: {every}")


@dataclass(frozen=True, slots=True)
class Split(Generic[ExampleT]):
    """The three sides, each in the order in which its texts came."""

    train: tuple[ExampleT, ...]
    dev: tuple[ExampleT, ...]
    test: tuple[ExampleT, ...]
    #: Texts that were left out, because a later side has them too.
    num_removed: int = 0


def split(texts: Sequence[ExampleT], shares: Shares, seed: int = 0) -> Split[ExampleT]:
    """Split by shares; raises `BadSettings` where the texts, or their groups, are too few to leave something on each side."""
    groups = _groups(texts)
    wanted = {Side.TRAIN: shares.train, Side.DEV: shares.dev, Side.TEST: shares.test}
    side_of: dict[int, Side] = {}
    needs = _Needs(texts, {side: share for side, share in wanted.items() if share})
    for members in sorted(groups, key=lambda group: needs.order(group, _digest([texts[number].text for number in group], seed))):
        side = needs.neediest(members)
        needs.give(side, members)
        side_of |= dict.fromkeys(members, side)
    for side in Side:
        if wanted[side] and side not in side_of.values():
            raise BadSettings(f"too few texts ({len(texts)}, {len(groups)} of them different): none is left for {side}")
    return _split((text, side_of[number]) for number, text in enumerate(texts))


def given(train: Sequence[ExampleT], dev: Sequence[ExampleT] = (), test: Sequence[ExampleT] = ()) -> Split[ExampleT]:
    """Take sides as they are given, but leave out of `train` what `dev` or `test` has too, and out of `dev` what `test` has."""
    texts = [*train, *dev, *test]
    places = [Side.TRAIN] * len(train) + [Side.DEV] * len(dev) + [Side.TEST] * len(test)
    order = list(Side)
    groups = find_groups(text.text for text in texts)
    last: dict[int, Side] = {}
    for group, side in zip(groups, places, strict=True):
        last[group] = max(last.get(group, side), side, key=order.index)
    kept: list[tuple[ExampleT, Side]] = [
        (text, side) for text, group, side in zip(texts, groups, places, strict=True) if last[group] is side
    ]
    return _split(kept, num_removed=len(texts) - len(kept))


def _split(placed: Iterable[tuple[ExampleT, Side]], num_removed: int = 0) -> Split[ExampleT]:
    sides: dict[Side, list[ExampleT]] = {side: [] for side in Side}
    for text, side in placed:
        sides[side].append(text)
    return Split(tuple(sides[Side.TRAIN]), tuple(sides[Side.DEV]), tuple(sides[Side.TEST]), num_removed)


def _groups(texts: Sequence[ExampleT]) -> list[list[int]]:
    members: defaultdict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(find_groups(text.text for text in texts)):
        members[group].append(number)
    return list(members.values())


def _digest(texts: Iterable[str], seed: int) -> bytes:
    """Return what orders a group among others: by chance, but the same for the same texts and seed."""
    return hashlib.sha256(f"{seed}\0{min(build_key(split_words(text)) for text in texts)}".encode()).digest()


class _Needs:
    """How many texts of each label each side still needs."""

    def __init__(self, texts: Sequence[ExampleT], shares: Mapping[Side, float]) -> None:
        """Begin with nothing given."""
        # The labels of each text; that it has none is one too, and all of them together count as one.
        self._labels = [tuple(sorted(set(text.labels))) or ("",) for text in texts]
        self._shares = shares
        self._counts = Counter(label for labels in self._labels for label in labels)
        self._num_texts = len(texts)
        self._given: Counter[tuple[Side, str]] = Counter()
        self._num_given: Counter[Side] = Counter()

    def order(self, members: Sequence[int], digest: bytes) -> tuple[int, str, int, bytes]:
        """Return a group's place: rare labels first, for they are hard to place; large groups before small ones; then by chance."""
        rarest = self._rarest(members)
        return self._counts[rarest], rarest, -len(members), digest

    def neediest(self, members: Sequence[int]) -> Side:
        """Return the side to which a group goes: of those with room for it, the one that has got the least of its share."""
        label = self._rarest(members)
        num = sum(label in self._labels[number] for number in members)
        needs = {side: share * self._counts[label] - self._given[side, label] for side, share in self._shares.items()}
        roomy = [side for side in needs if needs[side] + _TINY >= num]
        if roomy:
            return max(roomy, key=lambda side: (needs[side] / self._shares[side], self._lack(side)))
        return max(needs, key=lambda need: (needs[need], self._lack(need)))

    def give(self, side: Side, members: Sequence[int]) -> None:
        """Count what a side has got."""
        self._num_given[side] += len(members)
        for number in members:
            self._given.update((side, label) for label in self._labels[number])

    def _rarest(self, members: Sequence[int]) -> str:
        return min({label for number in members for label in self._labels[number]}, key=lambda label: (self._counts[label], label))

    def _lack(self, side: Side) -> float:
        return self._num_texts - self._num_given[side] / self._shares[side]
