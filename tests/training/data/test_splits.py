"""Splits: nothing stands on two sides, the same texts always stand on the same, and labels are spread over all."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadSettings
from worker.training.data.duplicates import find_groups
from worker.training.data.examples import LabelledText, Span, TaggedText
from worker.training.data.splits import Shares, Split, split
from worker.training.data.splits import given as given_sides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

few_words = st.lists(st.sampled_from("abcdefghij"), max_size=10).map(" ".join)
examples = st.builds(LabelledText, few_words, st.lists(st.sampled_from("xyz"), unique=True, max_size=2).map(tuple))
HALVES = Shares(train=0.5, dev=0.25, test=0.25)


def different(num: int, label: str = "x") -> list[LabelledText]:
    """Return texts that have nothing in common."""
    return [LabelledText(f"{chr(0x4E00 + n)}{label}", (label,)) for n in range(num)]


def list_sides(text: Split[LabelledText]) -> list[tuple[LabelledText, ...]]:
    """Return the three sides."""
    return [text.train, text.dev, text.test]


def are_apart(sides: Sequence[Sequence[LabelledText]]) -> bool:
    """Tell whether no group stands on two sides."""
    groups = iter(find_groups(entry.text for side in sides for entry in side))
    sets = [{next(groups) for _ in side} for side in sides]
    return len(set().union(*sets)) == sum(map(len, sets))


@given(st.lists(examples, max_size=40), st.integers(0, 3), st.randoms(use_true_random=False))
def test_sides_are_apart_whole_and_the_same_in_any_order(texts: list[LabelledText], seed: int, random: Random) -> None:
    """Each text is on one side with all its near duplicates, for any order of the texts."""
    texts = [*texts, *different(20)]
    found = split(texts, HALVES, seed)
    assert Counter(entry for side in list_sides(found) for entry in side) == Counter(texts)
    assert are_apart(list_sides(found))
    assert split(texts, HALVES, seed) == found
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert [Counter(side) for side in list_sides(split(shuffled, HALVES, seed))] == [Counter(side) for side in list_sides(found)]


@given(
    st.integers(20, 300),
    st.integers(1, 40),
    st.sampled_from([Shares(), HALVES, Shares(train=0.7, dev=0, test=0.3)]),
    st.integers(0, 9),
)
def test_labels_are_spread_by_the_shares(num: int, num_rare: int, shares: Shares, seed: int) -> None:
    """Without near duplicates each side has its share of each label, rounded up or down."""
    found = split([*different(num), *different(num_rare, "rare")], shares, seed)
    for share, side in zip((shares.train, shares.dev, shares.test), list_sides(found), strict=True):
        for label, count in (("x", num), ("rare", num_rare)):
            exact = round(share * count, 6)
            assert math.floor(exact) <= sum(entry.labels == (label,) for entry in side) <= math.ceil(exact)


def test_the_seed_decides() -> None:
    """Another seed gives another split of the same sizes; each side keeps the order of the texts."""
    texts = different(100)
    one, other = split(texts, Shares(), 1), split(texts, Shares(), 2)
    assert one != other
    assert len(one.dev) == len(other.dev) == 10
    assert list(one.train) == [text for text in texts if text in one.train]


def test_a_large_group_goes_where_there_is_room() -> None:
    """The group of copies goes to the training side and does not displace texts of a small side."""
    many = [LabelledText("the same again", ("x",))] * 30
    found = split([*different(70), *many], Shares(), 0)
    assert many[0] in found.train
    assert len(found.train) == 80


def test_texts_with_rare_types_are_spread_too() -> None:
    """Texts are spread by their entity types, and so are texts without entities."""
    texts = [TaggedText(f"{chr(0x4E00 + n)}", (Span("RARE" if n < 10 else "PER", 0, 1),) if n < 60 else ()) for n in range(100)]
    found = split(texts, Shares(train=0.5, dev=0.2, test=0.3), 0)
    for side, share in ((found.train, 0.5), (found.dev, 0.2), (found.test, 0.3)):
        counts = Counter(entry.labels for entry in side)
        assert (counts["RARE",], counts["PER",], counts[()]) == (10 * share, 50 * share, 40 * share)


def test_too_few_texts_are_one_line() -> None:
    """The error has the number of different texts."""
    same = [LabelledText("the same", ("x",))] * 5
    with pytest.raises(BadSettings, match=r"too few texts \(5, 1 of them different\): none is left for dev"):
        split(same, Shares())
    assert len(split(same, Shares(train=1, dev=0, test=0)).train) == 5


@pytest.mark.parametrize(("train", "dev", "test"), [(0.8, 0.1, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_shares_that_are_none_are_refused(train: float, dev: float, test: float) -> None:
    """Shares must add up to 1, and train must have a share."""
    with pytest.raises(BadSettings, match="shares of train, dev and test must add up to 1"):
        Shares(train=train, dev=dev, test=test)


@given(st.lists(examples, max_size=15), st.lists(examples, max_size=8), st.lists(examples, max_size=8))
def test_given_sides_lose_what_a_later_side_has(
    train: list[LabelledText], dev: list[LabelledText], test: list[LabelledText]
) -> None:
    """The test side is unchanged; dev loses texts of test, train loses texts of both; removed texts are counted."""
    found = given_sides(train, dev, test)
    assert found.test == tuple(test)
    assert are_apart(list_sides(found))
    assert found.num_removed == len(train) + len(dev) + len(test) - sum(map(len, list_sides(found)))
    assert set(found.train) <= set(train)
    assert set(found.dev) <= set(dev)


def test_given_sides_that_are_apart_stay() -> None:
    """No text is removed, and only the training side is required."""
    texts = different(6)
    assert given_sides(texts[:4], texts[4:5], texts[5:]) == Split(tuple(texts[:4]), tuple(texts[4:5]), tuple(texts[5:]))
    assert given_sides(texts) == Split(tuple(texts), (), ())
