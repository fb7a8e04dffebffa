"""What the flow can be told, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.flow.session import Backoff
    from worker.records import Task
    from worker.wire.decode import Limits
    from worker.wire.encode import EmbeddingEncoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every number that the flow depends on; `settings` documents them and how to choose them."""

    tasks: frozenset[Task]
    limits: Limits
    embedding_encoding: EmbeddingEncoding
    max_batch_tokens: int
    max_batch_records: int
    #: The topic that gets what the others leave of the model; None where all are alike.
    backfill_topic: str | None
    #: Backfill fills a pass up to so many tokens.
    max_backfill_batch_tokens: int
    max_batch_delay_s: float
    max_in_flight_tokens: int
    resume_in_flight_tokens: int
    max_poll_records: int
    max_publish_records: int
    publish_interval_s: float
    commit_interval_s: float
    drain_timeout_s: float
    max_consecutive_failures: int
    #: 0: no bound.
    max_consecutive_dead_letters: int
    #: How long a dead letter waits for the first result of its topic.
    dead_letter_hold_s: float
    backoff: Backoff
