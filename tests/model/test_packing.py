"""Packing: every token once, positions restart, and slots hold each text whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.model.packing import pack, slots_by_length

SEQUENCES = st.lists(st.lists(st.integers(0, 30_000), min_size=1, max_size=70), min_size=1, max_size=20)


@given(SEQUENCES)
def test_texts_lie_end_to_end(sequences: list[list[int]]) -> None:
    """Each text is found again between its starts, and its positions begin at zero."""
    packed = pack([np.array(it, dtype=np.int32) for it in sequences])
    for sequence, start, end in zip(sequences, packed.cu_seqlens[:-1], packed.cu_seqlens[1:], strict=True):
        assert packed.ids[start:end].tolist() == sequence
        assert packed.positions[start:end].tolist() == list(range(len(sequence)))
    assert len(packed.ids) == sum(map(len, sequences))


@given(SEQUENCES, st.integers(1, 32))
def test_slots_hold_each_text_whole_and_nothing_else(sequences: list[list[int]], step: int) -> None:
    """Going to the slots and back is the identity, a slot never mixes texts, and padding stays below one step."""
    packed = pack([np.array(it, dtype=np.int32) for it in sequences])
    groups, place_of_token = slots_by_length(packed, step=step)
    places = np.concatenate([group.tokens.ravel() for group in groups])
    assert places[place_of_token].tolist() == list(range(len(packed.ids)))
    text_of = np.repeat(np.arange(len(sequences)), packed.lengths)
    for group in groups:
        for row, inside in zip(
            group.tokens, group.is_token if group.is_token is not None else np.ones_like(group.tokens, bool), strict=True
        ):
            assert len(set(text_of[row])) == 1
            assert inside.sum() == packed.lengths[text_of[row[0]]]
            assert len(row) - inside.sum() < step
