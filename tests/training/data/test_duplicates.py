"""Near-duplicates: the rule is the documented one, exactly, in any order of the texts."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.training.data.duplicates import are_alike, build_key, find_groups, split_words

if TYPE_CHECKING:
    from random import Random

few_words = st.lists(st.sampled_from("abcdefgh"), max_size=12).map(" ".join)


def together(texts: list[str]) -> set[frozenset[int]]:
    """Return the groups as sets of places."""
    groups = find_groups(texts)
    return {frozenset(place for place, own_group in enumerate(groups) if own_group == group) for group in groups}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Good day!", "good   DAY …"),
        ("see https://t.co/abc", "See http://example.org/x?y=1."),
        ("see www.one.org", "see https://two.org"),
        ("@ada thanks", "@ grace: thanks"),
        ("call 0800 123", "call 555"),
        ("\uff26\uff55\uff4c\uff4c width \uff11\uff12", "full width 7"),
        ("no no no", "no"),
        ("a b c d", "d c b a"),
        ("one two three four five six seven eight nine", "one two three four five six seven eight ten"),
        ("!!! :-)", ":-) !!!"),
        ("東京は大きい都市です", "東京は大きな都市です"),
        ("", " \n"),
    ],
)
def test_texts_that_differ_in_form_are_near_duplicates(one: str, other: str) -> None:
    assert are_alike(split_words(one), split_words(other))
    assert find_groups([one, other]) == [0, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I love Paris", "I love Rome"),
        ("one two three four five six seven eight", "one two three four five six seven ten"),
        ("ok 😂", "ok 😡"),
        ("!!!", "???"),
        ("", "."),
        ("mail a@b.org", "mail c@d.org"),
    ],
)
def test_texts_that_differ_in_words_are_no_near_duplicates(one: str, other: str) -> None:
    """Texts with too many different words are not near duplicates."""
    assert find_groups([one, other]) == [0, 1]


def test_near_duplicates_of_near_duplicates_belong_together() -> None:
    """The first and the last text of a group need not be near duplicates."""
    words = [f"w{chr(97 + n)}" for n in range(26)]
    texts = [" ".join(words[n : n + 12]) for n in range(8)]
    assert not are_alike(split_words(texts[0]), split_words(texts[-1]))
    assert find_groups([*texts, "something else"]) == [0] * 8 + [1]


@given(st.lists(few_words, max_size=14))
def test_no_pair_is_missed_and_none_is_invented(texts: list[str]) -> None:
    """The groups equal those of a comparison of all pairs."""
    groups = list(range(len(texts)))
    for one, other in combinations(range(len(texts)), 2):
        if are_alike(split_words(texts[one]), split_words(texts[other])):
            groups = [groups[one] if group == groups[other] else group for group in groups]
    assert together(texts) == {frozenset(place for place, own_group in enumerate(groups) if own_group == group) for group in groups}


@given(st.lists(st.text(max_size=8) | few_words, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_the_texts_does_not_matter(texts: list[str], random: Random) -> None:
    """Shuffled texts have the same groups."""
    order = list(range(len(texts)))
    random.shuffle(order)
    shuffled = together([texts[number] for number in order])
    assert {frozenset(order[entry] for entry in group) for group in shuffled} == together(texts)


def test_a_set_of_words_has_one_text() -> None:
    """Order and punctuation do not change the key."""
    assert build_key(split_words("b a")) == build_key(split_words("a b!")) == "a b"
