"""Packing: every token once, positions restart, and slots hold each text whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.text.packing import groups, pack, rows_by_length, slots_by_length

SEQUENCES = st.lists(st.lists(st.integers(0, 30_000), min_size=1, max_size=70), min_size=1, max_size=20)


@given(SEQUENCES)
def test_texts_lie_end_to_end(sequences: list[list[int]]) -> None:
    """Each text is found again between its starts, and its positions begin at zero."""
    packed = pack([np.array(sequence, dtype=np.int32) for sequence in sequences])
    for sequence, start, end in zip(sequences, packed.cu_seqlens[:-1], packed.cu_seqlens[1:], strict=True):
        assert packed.ids[start:end].tolist() == sequence
        assert packed.positions[start:end].tolist() == list(range(len(sequence)))
    assert len(packed.ids) == sum(map(len, sequences))


@given(SEQUENCES, st.integers(1, 32))
def test_slots_hold_each_text_whole_and_nothing_else(sequences: list[list[int]], step: int) -> None:
    """Going to the slots and back is the identity, a slot never mixes texts, and padding stays below one step."""
    packed = pack([np.array(sequence, dtype=np.int32) for sequence in sequences])
    groups, place_of_token = slots_by_length(packed, step=step)
    places = np.concatenate([group.tokens.ravel() for group in groups])
    assert places[place_of_token].tolist() == list(range(len(packed.ids)))
    text_numbers = np.repeat(np.arange(len(sequences)), packed.lengths)
    for group in groups:
        for row, inside in zip(
            group.tokens, group.is_token if group.is_token is not None else np.ones_like(group.tokens, bool), strict=True
        ):
            assert len(set(text_numbers[row])) == 1
            assert inside.sum() == packed.lengths[text_numbers[row[0]]]
            assert len(row) - inside.sum() < step


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(32, 512), st.integers(1, 8))
def test_every_text_is_in_one_group(lengths: list[int], max_tokens: int, num_threads: int) -> None:
    """No group is empty, and no thread has less to do than another by more than a group."""
    order, bounds = groups(np.array(lengths), min_tokens=128, max_tokens=max_tokens, num_threads=num_threads)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(bounds) > 0).all()
    assert (bounds[0], bounds[-1]) == (0, len(lengths))


def test_groups_are_full() -> None:
    """A full batch of short texts fills an equal number of groups for each thread, nearly to the last token."""
    lengths = np.clip(np.random.default_rng(0).lognormal(3.2, 0.6, 130).astype(int), 5, 256)
    order, bounds = groups(lengths, min_tokens=128, max_tokens=384, num_threads=2)
    sizes = [int(lengths[order[first:end]].sum()) for first, end in itertools.pairwise(bounds)]
    assert len(sizes) % 2 == 0
    assert max(sizes) <= 384
    assert sum(sizes) >= 0.97 * sum(-(-size // 32) * 32 for size in sizes)


@pytest.mark.parametrize(("lengths", "num_groups"), [([20], 1), ([100, 100], 1), ([128, 128], 2), ([128] * 8, 8)])
def test_a_small_batch_has_fewer_groups_than_threads(lengths: list[int], num_groups: int) -> None:
    """Texts are divided among as many threads as have the smallest number of tokens each."""
    _, bounds = groups(np.array(lengths), min_tokens=128, max_tokens=384, num_threads=8)
    assert len(bounds) - 1 == num_groups


@given(SEQUENCES, st.integers(1, 64))
def test_rows_hold_each_text_whole_and_in_order(sequences: list[list[int]], shortest: int) -> None:
    """Going to the rows and back is the identity, and the tokens of a text stand side by side in one row."""
    packed = pack([np.array(sequence, dtype=np.int32) for sequence in sequences])
    groups, place_of_token = rows_by_length(packed, shortest=shortest)
    places = np.concatenate([group.tokens.ravel() for group in groups])
    assert places[place_of_token].tolist() == list(range(len(packed.ids)))
    assert sum(int((group.sequences >= 0).sum()) for group in groups) == len(packed.ids)
    for group in groups:
        for tokens, texts in zip(group.tokens, group.sequences, strict=True):
            for number in set(texts[texts >= 0].tolist()):
                own = np.flatnonzero(texts == number)
                assert np.diff(own).tolist() == [1] * (len(own) - 1)
                assert tokens[own].tolist() == list(range(packed.cu_seqlens[number], packed.cu_seqlens[number + 1]))


@given(SEQUENCES, st.integers(1, 64))
def test_a_row_is_the_shortest_that_holds_its_longest_text(sequences: list[list[int]], shortest: int) -> None:
    """So that rows have few lengths, and at most one of all is half empty for no need."""
    packed = pack([np.array(sequence, dtype=np.int32) for sequence in sequences])
    groups, _ = rows_by_length(packed, shortest=shortest)
    assert len({group.tokens.shape[1] for group in groups}) == len(groups)
    for group in groups:
        width = group.tokens.shape[1]
        for texts in group.sequences:
            longest = int(packed.lengths[np.unique(texts[texts >= 0])].max())
            assert width // 2 < longest <= width or width == shortest
    free = [int((texts < 0).sum()) / len(texts) for group in groups for texts in group.sequences]
    assert sum(row >= 0.5 for row in free) <= 1
