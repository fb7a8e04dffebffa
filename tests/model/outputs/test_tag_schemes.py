"""The labels of published taggers, in every scheme, and the entities that they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.outputs.tag_schemes import read_scheme
from worker.model.outputs.tagged_words import tagged_entities
from worker.model.published_heads.head import PublishedHeadConfig
from worker.records import Item, Partition, Record, Task, TokenizedItem, Tokens

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BIES"))
BILOU = ("O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BILU"))


def build_words(
    labels: tuple[str, ...], path: list[str]
) -> tuple[TokenizedItem, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Return a text of one letter for each word, with special tokens, and logits of the labels of a path."""
    text, num = " ".join("abcdefghijkl"[: len(path)]), len(path)
    places = [0, *(2 * n for n in range(num)), 0]
    spans = np.array([[place, place + (0 < n <= num)] for n, place in enumerate(places)], dtype=np.int32)
    tokens = Tokens(np.zeros(num + 2, dtype=np.int32), spans, np.array([-1, *range(num), -1], dtype=np.int32), truncated=False)
    logits = np.zeros((num + 2, len(labels)), dtype=np.float32)
    logits[range(1, num + 1), [labels.index(label) for label in path]] = 5.0
    return TokenizedItem(Item(Record(Partition("t", 0), 0, None, b""), "", text, frozenset(Task)), tokens), logits


def find_entities(labels: tuple[str, ...], path: list[str]) -> list[tuple[str, str]]:
    """Return the type and the characters of each entity of a path."""
    text, logits = build_words(labels, path)
    (found,) = tagged_entities(PublishedHeadConfig(name="h", task="ner", labels=labels, layers=(1,)), logits, [text])
    return [(entity.type, entity.text) for entity in found]


@pytest.mark.parametrize(
    ("labels", "path", "expected"),
    [
        (BIO, "B-PER I-PER O B-LOC", [("PER", "a b"), ("LOC", "d")]),
        (BIO, "I-PER I-PER B-PER I-LOC", [("PER", "a b"), ("PER", "c"), ("LOC", "d")]),
        (("O", "I-PER", "B-PER", "I-LOC"), "I-PER B-PER I-PER O I-LOC", [("PER", "a"), ("PER", "b c"), ("LOC", "e")]),
        (("I-PER", "O"), "O I-PER I-PER O", [("PER", "b c")]),
        (BIOES, "B-PER I-PER E-PER S-PER S-LOC", [("PER", "a b c"), ("PER", "d"), ("LOC", "e")]),
        (BIOES, "I-PER E-PER I-PER O E-LOC", [("PER", "a b"), ("PER", "c"), ("LOC", "e")]),
        (BILOU, "B-PER L-PER U-PER U-PER", [("PER", "a b"), ("PER", "c"), ("PER", "d")]),
        (("O", "B-X", "M-X", "E-X", "S-X"), "B-X M-X E-X S-X", [("X", "a b c"), ("X", "d")]),
        (("O", "PER", "LOC"), "PER PER LOC O PER", [("PER", "a b"), ("LOC", "c"), ("PER", "e")]),
        (("NOUN", "VERB"), "NOUN NOUN VERB", [("NOUN", "a b"), ("VERB", "c")]),
        (("B-PER", "I-PER"), "B-PER I-PER B-PER", [("PER", "a b"), ("PER", "c")]),
        (("O", "S-PER"), "S-PER S-PER O", [("PER", "a"), ("PER", "b")]),
        (("O", "E-mail", "PER"), "E-mail E-mail PER", [("E-mail", "a b"), ("PER", "c")]),
        (BIO, "O O", []),
    ],
)
def test_a_path_says_its_entities(labels: tuple[str, ...], path: str, expected: list[tuple[str, str]]) -> None:
    """In each scheme, also where the path breaks the rules of the scheme."""
    assert find_entities(labels, path.split()) == expected


@given(st.sampled_from([BIO, BIOES, BILOU]), st.data())
def test_every_word_with_a_type_is_in_one_entity(labels: tuple[str, ...], data: st.DataObject) -> None:
    """No word is lost, none is in two entities, and the type is that of all its words."""
    path = data.draw(st.lists(st.sampled_from(labels), min_size=1, max_size=12))
    found = find_entities(labels, path)
    types = dict(zip("abcdefghijkl", (read_scheme(labels).types[labels.index(label)] for label in path), strict=False))
    assert [word for _, text in found for word in text.split()] == [word for word, kind in types.items() if kind]
    assert all(types[word] == kind for kind, text in found for word in text.split())


def test_the_score_is_the_mean_probability_of_the_words() -> None:
    """A softmax over all labels for each word."""
    text, logits = build_words(BIO, ["B-PER", "I-PER"])
    logits[2, 2] = 2.0
    config = PublishedHeadConfig(name="h", task="ner", labels=BIO, layers=(1,))
    ((entity,),) = tagged_entities(config, logits, [text])
    assert entity.score == pytest.approx(np.mean([np.exp(peak) / (np.exp(peak) + 4) for peak in (5.0, 2.0)]))
