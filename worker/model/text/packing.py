"""Texts end to end: many sequences packed into one flat batch without padding. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Rows that a product on tiles takes at a time.
_ROWS = 32
# Up to here the sizes of a batch's matrix lie 16 tokens apart, beyond 64.
_FEW_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Packed:
    """`n` sequences with `T` tokens in all, one after the other."""

    #: Vocabulary ids, int64, shape `[T]`.
    ids: NDArray[np.int64]
    #: The place of each token in its own sequence, int64, shape `[T]`: positions restart.
    positions: NDArray[np.int64]
    #: Where each sequence starts, and the end of the last, int64, shape `[n + 1]`.
    cu_seqlens: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The tokens of each sequence, shape `[n]`."""
        return np.diff(self.cu_seqlens)


def pack(sequences: Sequence[NDArray[np.int32]]) -> Packed:
    """Pack sequences of at least one token each, in order."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    cu_seqlens = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    ids = np.concatenate(sequences).astype(np.int64)
    positions = np.arange(len(ids), dtype=np.int64) - np.repeat(cu_seqlens[:-1], lengths)
    return Packed(ids, positions, cu_seqlens)


def padded(num_tokens: int) -> int:
    """Return the size of the matrix for a batch: one of a few, because each new size costs what is set up for a matrix product.

    The sizes lie 16 tokens apart up to 512, and 64 beyond: a full batch of 4,096 tokens computes at most 63 for nothing.
    """
    step = 16 if num_tokens <= _FEW_TOKENS else 64
    return max(step, -(-num_tokens // step) * step)


def padded_for_capture(num_tokens: int) -> int:
    """Return the size of the matrix where each size is captured and kept: a power of two, or half-way to the next, from 64 on."""
    power = max(64, 1 << (num_tokens - 1).bit_length())
    return power if num_tokens > power * 3 // 4 or power <= 64 else power * 3 // 4  # noqa: PLR2004  the smallest


@dataclass(frozen=True, slots=True)
class Slots:
    """Sequences of about the same length, side by side for the attention: `n` of them in slots of `L` tokens."""

    #: The flat token in each place, int64, shape `[n, L]`; places past a sequence's end repeat its last token.
    tokens: NDArray[np.int64]
    #: Whether a place holds a token of its own, bool, shape `[n, L]`; None where every place does.
    is_token: NDArray[np.bool_] | None


def slots_by_length(packed: Packed, *, step: int = 16) -> tuple[list[Slots], NDArray[np.int64]]:
    """Group sequences whose lengths round up to the same multiple of `step`, for attention over short, nearly full slots.

    Returns the groups, and for each flat token (shape `[T]`) its place among all places of all groups, one after the other.
    """
    lengths = packed.lengths
    widths = -(-lengths // step) * step
    groups: list[Slots] = []
    place_of_token = np.empty(len(packed.ids), dtype=np.int64)
    num_places = 0
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        longest = int(lengths[members].max())
        offsets = np.arange(longest)
        inside = offsets[None, :] < lengths[members][:, None]
        tokens = packed.cu_seqlens[members][:, None] + np.minimum(offsets[None, :], lengths[members][:, None] - 1)
        groups.append(Slots(tokens, None if inside.all() else inside))
        place_of_token[tokens[inside]] = num_places + np.flatnonzero(inside)
        num_places += inside.size
    return groups, place_of_token


def groups(
    lengths: NDArray[np.int64], *, min_tokens: int, max_tokens: int, num_threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide texts (`lengths`, `[n]`) into groups of about equal size, as many for each thread; a longer text has its own group.

    Fewer threads share texts that have less than `min_tokens` for each thread: every group reads all weights.

    The largest go first, each to the first group with room for it; what fits nowhere goes where most room is left. Groups are
    filled up to a multiple of 32 tokens, because that is what a product costs. Returns the texts in order of groups, int64 `[n]`,
    and where each group starts, and the end of the last, int64 `[groups + 1]`.
    """
    total = int(lengths.sum())
    num_threads = max(1, min(num_threads, total // min_tokens))
    num_groups = min(len(lengths), num_threads * -(-total // (num_threads * max_tokens)))
    room = [-(-total // (num_groups * _ROWS)) * _ROWS] * num_groups
    members: list[list[int]] = [[] for _ in room]
    for text in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[text])
        group = next((number for number, left in enumerate(room) if left >= length), -1)
        if group < 0:
            group = room.index(max(room))
        members[group].append(text)
        room[group] -= length
    kept = [group for group in members if group]
    bounds = np.cumsum([0, *map(len, kept)])
    return np.array([text for group in kept for text in group], dtype=np.int64), bounds.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Rows:
    """Sequences end to end in `R` rows of `L` places each; the attention's mask separates the sequences of a row."""

    #: The flat token in each place, int64, shape `[R, L]`; 0 in the places that are left over.
    tokens: NDArray[np.int64]
    #: For each place the number of its sequence, int64, shape `[R, L]`; -1 in the places that are left over.
    sequences: NDArray[np.int64]


def rows_by_length(packed: Packed, *, shortest: int = 64) -> tuple[list[Rows], NDArray[np.int64]]:
    """Lay sequences into rows of a few lengths, `shortest` times a power of two, each sequence whole in one row.

    The longest come first (first-fit decreasing): a sequence that fits into no row opens the shortest row that holds
    the sequence, and shorter sequences fill the free places. Returns the rows of each length, and for each flat token (shape
    `[T]`) its place among all places of all rows, one after the other.
    """
    filled = _fill(packed.lengths, shortest)
    groups = [
        _rows(packed, [members for row_width, members in filled if row_width == width], width)
        for width in sorted({width for width, _ in filled})
    ]
    place_of_token = np.empty(len(packed.ids), dtype=np.int64)
    is_token = np.concatenate([group.sequences.ravel() for group in groups]) >= 0
    place_of_token[np.concatenate([group.tokens.ravel() for group in groups])[is_token]] = np.flatnonzero(is_token)
    return groups, place_of_token


def _fill(lengths: NDArray[np.int64], shortest: int) -> list[tuple[int, list[int]]]:
    """Return the number of places and the sequences of each row."""
    rows: list[tuple[int, list[int]]] = []
    left: list[int] = []
    for number in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[number])
        row = next((row for row, space in enumerate(left) if space >= length), len(rows))
        if row == len(rows):
            rows.append((shortest << (-(-length // shortest) - 1).bit_length(), []))
            left.append(rows[row][0])
        rows[row][1].append(number)
        left[row] -= length
    return rows


def _rows(packed: Packed, members: Sequence[Sequence[int]], width: int) -> Rows:
    tokens, sequences = np.zeros((len(members), width), dtype=np.int64), np.full((len(members), width), -1, dtype=np.int64)
    for row, numbers in enumerate(members):
        own = np.concatenate([np.arange(packed.cu_seqlens[number], packed.cu_seqlens[number + 1]) for number in numbers])
        tokens[row, : len(own)] = own
        sequences[row, : len(own)] = np.repeat(numbers, packed.lengths[list(numbers)])
    return Rows(tokens, sequences)
