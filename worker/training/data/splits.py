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
    from collections.abc import Iterable, Sequence


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
        """Raise `BadSettings` for shares whose sum is not 1, and for an empty training side."""
        every = (self.train, self.dev, self.test)
        if min(every) < 0 or self.train == 0 or not math.isclose(sum(every), 1, abs_tol=_TINY):
            raise BadSettings(f"shares of train, dev and test must add up to 1, with some for train: {every}")


@dataclass(frozen=True, slots=True)
class Split(Generic[ExampleT]):
    """The three sides, each in the order in which its texts came."""

    train: tuple[ExampleT, ...]
    dev: tuple[ExampleT, ...]
    test: tuple[ExampleT, ...]
    #: Texts that were left out, because a later side has a near-duplicate.
    num_removed: int = 0


def split(texts: Sequence[ExampleT], shares: Shares, seed: int = 0) -> Split[ExampleT]:
    """Split by shares; raises `BadSettings` if the texts or their groups are too few to leave a text on each side."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(find_groups(text.text for text in texts)):
        groups[group].append(number)
    # A text without a label counts as a text with the label "".
    labels = [frozenset(text.labels) or frozenset([""]) for text in texts]
    counts = Counter(label for own in labels for label in own)
    wanted = {side: share for side, share in zip(Side, (shares.train, shares.dev, shares.test), strict=True) if share}
    # The number of texts of each side by label, and in all.
    given_: Counter[tuple[Side, str | None]] = Counter()
    sides: dict[int, Side] = {}

    def find_rarest(members: Sequence[int]) -> str:
        return min({label for number in members for label in labels[number]}, key=lambda label: (counts[label], label))

    def order(members: Sequence[int]) -> tuple[int, str, int, bytes]:
        """Place rare labels first, then large groups; then by a digest of the texts and the seed."""
        rarest = find_rarest(members)
        return counts[rarest], rarest, -len(members), _compute_digest([texts[number].text for number in members], seed)

    for members in sorted(groups.values(), key=order):
        label = find_rarest(members)
        num = sum(label in labels[number] for number in members)
        needs = {side: share * counts[label] - given_[side, label] for side, share in wanted.items()}
        # The side that lacks the largest part of its share, of the sides with room for the group.
        roomy = {side: need / wanted[side] for side, need in needs.items() if need + _TINY >= num} or needs
        side = max(roomy, key=lambda side: (roomy[side], -given_[side, None] / wanted[side]))
        sides |= dict.fromkeys(members, side)
        given_.update((side, own) for number in members for own in (None, *labels[number]))
    if missing := [side for side in wanted if side not in sides.values()]:
        found = f"too few texts ({len(texts)}, {len(groups)} of them different)"
        raise BadSettings(f"{found}: none is left for {missing[0]}; give more texts or another share")
    return _build_split((text, sides[number]) for number, text in enumerate(texts))


def given(train: Sequence[ExampleT], dev: Sequence[ExampleT] = (), test: Sequence[ExampleT] = ()) -> Split[ExampleT]:
    """Return the given sides without texts that have a near-duplicate on a later side."""
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
    return _build_split(kept, num_removed=len(texts) - len(kept))


def _build_split(placed: Iterable[tuple[ExampleT, Side]], num_removed: int = 0) -> Split[ExampleT]:
    sides: dict[Side, list[ExampleT]] = {side: [] for side in Side}
    for text, side in placed:
        sides[side].append(text)
    return Split(tuple(sides[Side.TRAIN]), tuple(sides[Side.DEV]), tuple(sides[Side.TEST]), num_removed)


def _compute_digest(texts: Iterable[str], seed: int) -> bytes:
    """Return the place of a group in a random order that depends only on the texts and the seed."""
    return hashlib.sha256(f"{seed}\0{min(build_key(split_words(text)) for text in texts)}".encode()).digest()
