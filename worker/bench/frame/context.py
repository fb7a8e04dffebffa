"""The context of a benchmark: brokers, texts and settings of the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from worker.broker.connection.connection import Connection

#: Tokens of a batch of an engine without a broker: enough for the full speed of a processor.
ENGINE_BATCH_TOKENS = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchContext:
    """Where a benchmark runs, and with which texts and settings."""

    connection: Connection
    #: The process of the embedded broker; None for brokers elsewhere.
    broker_pid: int | None
    #: For logs and for files that child processes read.
    directory: Path
    texts: Sequence[str]
    #: The settings of model and batches, by name.
    settings: Mapping[str, Any]
    #: Prints the progress.
    say: Callable[[str], None]

    def text(self, number: int) -> str:
        """Return a text of the corpus; numbers wrap around at its end."""
        return self.texts[number % len(self.texts)]
