"""BIO paths: the best valid one is found, and entities come out whole."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from worker.model.outputs.bio import (
    allowed_transitions,
    best_path,
    best_paths,
    bio_labels,
    certain_margin,
    entities,
    entity_spans,
    marginals,
)

LABELS = bio_labels(["LOC", "PER"])
ALLOWED = allowed_transitions(LABELS)


def test_the_labels_of_types() -> None:
    """Outside first, then beginning and inside each type."""
    assert LABELS == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def test_inside_follows_only_its_own() -> None:
    """Beginning and outside follow anything."""
    index = {label: number for number, label in enumerate(LABELS)}
    assert ALLOWED[index["B-PER"], index["I-PER"]]
    assert ALLOWED[index["I-PER"], index["I-PER"]]
    assert not ALLOWED[index["B-LOC"], index["I-PER"]]
    assert not ALLOWED[index["O"], index["I-PER"]]
    assert not ALLOWED[-1, index["I-LOC"]]
    assert ALLOWED[:, index["O"]].all()
    assert ALLOWED[:, index["B-LOC"]].all()


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(5)), elements=st.floats(-5, 5)))
def test_no_valid_path_scores_higher(scores: np.ndarray) -> None:
    """Against every path there is."""
    words = np.arange(len(scores))

    def is_valid(path: tuple[int, ...]) -> bool:
        return all(ALLOWED[before, label] for before, label in zip((-1, *path), path, strict=False))

    paths = [path for path in itertools.product(range(5), repeat=len(scores)) if is_valid(path)]
    best = max(scores[words, list(path)].sum() for path in paths)
    found = best_path(scores, ALLOWED)
    assert is_valid(tuple(found.tolist()))
    np.testing.assert_allclose(scores[words, found].sum(), best)


def test_no_words_have_no_path() -> None:
    """An empty text is no error."""
    assert best_path(np.empty((0, 5)), ALLOWED).tolist() == []


def test_entities_are_runs() -> None:
    """Two that touch are two; one at the end is closed."""
    path = ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "O", "O", "B-LOC", "I-LOC"]
    assert list(entities(path)) == [("PER", 0, 2), ("PER", 2, 3), ("LOC", 4, 5), ("LOC", 7, 9)]
    assert list(entities([])) == []


@given(st.lists(st.integers(0, 6), max_size=6), st.integers(0, 1000))
def test_paths_of_many_texts_are_those_of_each(lengths: list[int], seed: int) -> None:
    """Texts without words among them; and the runs in them are the entities of each."""
    starts = np.cumsum([0, *lengths])
    scores = np.random.default_rng(seed).normal(size=(starts[-1], len(LABELS)))
    path = best_paths(scores, starts, ALLOWED)
    alone = [best_path(scores[start:end], ALLOWED) for start, end in itertools.pairwise(starts)]
    assert path.tolist() == [label for own_path in alone for label in own_path.tolist()]
    expected = [
        (start + first, start + end)
        for start, own_path in zip(starts.tolist(), alone, strict=False)
        for _, first, end in entities([LABELS[label] for label in own_path])
    ]
    assert list(zip(*(spans.tolist() for spans in entity_spans(path, LABELS)), strict=True)) == expected


def valid_paths(num_words: int) -> list[tuple[int, ...]]:
    """Return every valid path."""
    every = itertools.product(range(len(LABELS)), repeat=num_words)
    return [
        candidate
        for candidate in every
        if all(ALLOWED[before, label] for before, label in zip((-1, *candidate), candidate, strict=False))
    ]


def random_field(num_words: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of words and of what follows what."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(num_words, len(LABELS))) * 2, generator.normal(size=(len(LABELS) + 1, len(LABELS))) * 2


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 1000), st.sampled_from([0.0, 4.0, 12.0, 25.0]))
def test_a_random_field_is_decoded_and_weighed_over_all_valid_paths(lengths: list[int], seed: int, lead: float) -> None:
    """The best path of each text and the share of each label, against every path there is, few words outside or most."""
    starts = np.cumsum([0, *lengths])
    scores, transitions = random_field(starts[-1], seed)
    scores[:, 0] += lead * (np.random.default_rng(seed + 1).random(len(scores)) < 0.8)
    found, shares = best_paths(scores, starts, ALLOWED, transitions), marginals(scores, starts, ALLOWED, transitions)
    for start, end in itertools.pairwise(starts.tolist()):
        own, words, paths = scores[start:end], np.arange(end - start), valid_paths(end - start)
        totals = np.array(
            [own[words, path].sum() + transitions[[-1, *path[:-1]], path].sum() if path else 0.0 for path in map(list, paths)]
        )
        assert found[start:end].tolist() == list(paths[int(totals.argmax())])
        weights = np.exp(totals - totals.max()) / np.exp(totals - totals.max()).sum()
        expected = np.zeros_like(own)
        for path, weight in zip(paths, weights, strict=True):
            expected[words, list(path)] += weight
        np.testing.assert_allclose(shares[start:end], expected, atol=1e-9)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_no_transition_changes_what_is_certainly_outside(num_words: int, seed: int) -> None:
    """Where `O` leads by the certain margin at every word, the best path is outside."""
    scores, transitions = random_field(num_words, seed)
    scores[:, 0] = scores[:, 1:].max(axis=1) + certain_margin(ALLOWED, transitions, 0) + 1e-6
    assert not best_path(scores, ALLOWED, transitions).any()
