"""The progress of replays in a partition of dead letters: all offsets below a limit, and ranges above it. Pure.

A committed offset is one number, but a replay may select any dead letters. Ranges that are handled out of order are stored in the
metadata that Kafka keeps with each committed offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

# The default of the brokers for `offset.metadata.max.bytes`.
MAX_WORDS = 4096
_VERSION = "1:"


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """Handled offsets: all below `next_offset`, and `ranges` above it, each `[start, end)`, in order and not adjacent."""

    next_offset: int = 0
    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, offset: int, words: str) -> Self:
        """Read a committed offset and its metadata; metadata of other programs are ignored."""
        ranges, end = [], offset
        if not words.startswith(_VERSION):
            return cls(offset)
        try:
            for part in words.removeprefix(_VERSION).split(","):
                gap, length = (int(number, 16) for number in part.split("+"))
                ranges.append((end + gap, end + gap + length))
                end += gap + length
        except ValueError:
            return cls(offset)
        return cls(offset).with_ranges(ranges)

    @property
    def words(self) -> str:
        """The metadata to commit with `next_offset`. Raises `BadSettings` if they are longer than brokers accept."""
        parts, end = [], self.next_offset
        for start, next_end in self.ranges:
            parts.append(f"{start - end:x}+{next_end - start:x}")
            end = next_end
        words = _VERSION + ",".join(parts) if parts else ""
        if len(words) > MAX_WORDS:
            raise BadSettings(
                f"the selection has too many gaps to be stored: {len(parts)} ranges after the dead letter at offset "
                f"{self.next_offset}; replay or drop the oldest dead letters first"
            )
        return words

    def __contains__(self, offset: int) -> bool:
        return offset < self.next_offset or any(start <= offset < end for start, end in self.ranges)

    def with_ranges(self, ranges: Iterable[tuple[int, int]]) -> Self:
        """Return the progress with these ranges added."""
        next_offset, joined = self.next_offset, list[tuple[int, int]]()
        for start, end in sorted([*self.ranges, *ranges]):
            if start <= next_offset:
                next_offset = max(next_offset, end)
            elif end > start and joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            elif end > start:
                joined.append((start, end))
        return type(self)(next_offset, tuple(joined))
