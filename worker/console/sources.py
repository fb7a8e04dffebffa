"""The interfaces through which the console reads topics, groups and dead letters. Commands implement them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from worker.console.live_view import PartitionOffsets
    from worker.records import Record


@dataclass(frozen=True, slots=True)
class GroupState:
    """The consumer group of the workers, as the brokers describe it."""

    members: tuple[str, ...]
    offsets: tuple[PartitionOffsets, ...]


class Topics(Protocol):
    """Reads the input topics, the output topics and the group. Every method may raise `FatalError`."""

    def follow(self) -> AsyncGenerator[list[Record], None]:
        """Yield the newest records of all topics, and then further records as they arrive."""

    async def fetch_group(self) -> GroupState:
        """Return the members and the offsets of the consumer group."""


class DeadLetters(Protocol):
    """Lists and replays dead letters. Every method may raise `FatalError`."""

    async def list_open(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the dead letters that were neither replayed nor dropped, as JSON, and whether the list is complete."""

    async def replay(self, names: Sequence[str]) -> str:
        """Send the records of these dead letters again and return a sentence with the counts."""
