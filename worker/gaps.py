"""The offsets of a partition that hold no record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.records import Partition


@dataclass(frozen=True, slots=True)
class EmptyRange:
    """Offsets without a record for our reader: transaction markers, aborted records, records that compaction removed.

    The offset after the range is committed like that of a record. Otherwise the range counts as lag for ever.
    """

    partition: Partition
    offset: int
    next_offset: int
