"""Which letters of a dead-letter partition are done with: all below an offset, and some above it. Pure.

A consumer group's position is one number, but people replay what they choose: what is done with out of order is written down beside
the number, in the words that Kafka keeps with each committed offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

# What brokers keep beside an offset unless they are told otherwise: `offset.metadata.max.bytes`.
MAX_WORDS = 4096
_VERSION = "1:"


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """Offsets that are done with: all below `next_offset`, and `ranges` above it, each `[start, end)`, in order and apart."""

    next_offset: int = 0
    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, offset: int, words: str) -> Self:
        """Read what was committed; words of somebody else count for nothing."""
        ranges, end = [], offset
        if not words.startswith(_VERSION):
            return cls(offset)
        try:
            for it in words.removeprefix(_VERSION).split(","):
                gap, length = (int(number, 16) for number in it.split("+"))
                ranges.append((end + gap, end + gap + length))
                end += gap + length
        except ValueError:
            return cls(offset)
        return cls(offset).with_ranges(ranges)

    @property
    def words(self) -> str:
        """What stands beside `next_offset` when it is committed. Raises `BadSettings` where it is more than brokers keep."""
        parts, end = [], self.next_offset
        for start, next_end in self.ranges:
            parts.append(f"{start - end:x}+{next_end - start:x}")
            end = next_end
        words = _VERSION + ",".join(parts) if parts else ""
        if len(words) > MAX_WORDS:
            raise BadSettings(
                f"what is chosen is too scattered to be remembered, in {len(parts)} pieces behind the letter at offset "
                f"{self.next_offset}: replay or drop the oldest first"
            )
        return words

    def __contains__(self, offset: int) -> bool:
        return offset < self.next_offset or any(start <= offset < end for start, end in self.ranges)

    def with_ranges(self, ranges: Iterable[tuple[int, int]]) -> Self:
        """Return this with more done."""
        next_offset, joined = self.next_offset, list[tuple[int, int]]()
        for start, end in sorted([*self.ranges, *ranges]):
            if start <= next_offset:
                next_offset = max(next_offset, end)
            elif end > start and joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            elif end > start:
                joined.append((start, end))
        return type(self)(next_offset, tuple(joined))
