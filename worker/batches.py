"""Batches, and the priority with which a batch shares the model with others."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.records import TokenizedItem

#: The origin of the texts that clients send over HTTP. No topic has this name.
QUERIES = Partition("(http)", 0)


class Priority(StrEnum):
    """Who goes first when live records and backfill need the model at the same time."""

    LIVE = "live"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one forward pass, in order of arrival."""

    items: tuple[TokenizedItem, ...]
    #: When the oldest item was added to the queue, in seconds of `time.monotonic`.
    since_s: float = 0.0
    priority: Priority = Priority.LIVE
    #: Tokens of all items.
    num_tokens: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the sum once, because it is read several times."""
        object.__setattr__(self, "num_tokens", sum([item.weight for item in self.items]))

    def halves(self) -> tuple[Batch, Batch]:
        """Split the batch in two of the same priority; it must have at least two items."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle], self.since_s, self.priority), Batch(self.items[middle:], self.since_s, self.priority)


@dataclass(frozen=True, slots=True)
class PassContext:
    """How a forward pass shares the model with the passes that run at the same time."""

    priority: Priority
    #: Blocks while batches of higher priority need the model. A backend that can pause calls this before each step.
    yield_to_live: Callable[[], None]

    @property
    def is_background(self) -> bool:
        """Whether the pass pauses for live batches."""
        return self.priority is Priority.BACKFILL


#: The context of a pass that never pauses.
LIVE_PASS = PassContext(Priority.LIVE, lambda: None)
