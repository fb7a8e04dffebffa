"""Functions that build records, outcomes and items for tests."""

from __future__ import annotations

import numpy as np

from worker.flow.options import Options
from worker.flow.session import Backoff
from worker.records import Item, Message, Outcome, Output, Partition, Record, Task, TokenizedItem, Tokens
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding

PARTITION = Partition("texts", 0)
# A flow in small: little in flight, and no pause worth waiting for.
OPTIONS = Options(
    tasks=frozenset(Task),
    limits=Limits(),
    embedding_encoding=EmbeddingEncoding.FLOAT,
    max_batch_tokens=64,
    max_batch_s=0.05,
    max_batch_records=8,
    backfill_topic=None,
    max_backfill_batch_tokens=64,
    max_batch_delay_s=0.0,
    max_in_flight_tokens=2_000,
    resume_in_flight_tokens=1_000,
    max_poll_records=50,
    max_publish_records=16,
    publish_interval_s=0.0,
    commit_interval_s=0.01,
    drain_timeout_s=5.0,
    max_consecutive_failures=1_000,
    max_consecutive_dead_letters=0,
    dead_letter_hold_s=0.0,
    backoff=Backoff(first_s=0.001, max_s=0.002),
)


def record(offset: int, value: bytes | None = b'{"text":"hello"}', *, partition: Partition = PARTITION) -> Record:
    """Return a record at an offset."""
    return Record(partition, offset, b"key-%d" % offset, value, timestamp_ms=1_700_000_000_000 + offset)


def outcome(source: Record) -> Outcome:
    """Return an outcome with one message that has the offset as its value."""
    return Outcome(source, (Message(Output.EMBEDDINGS, source.key, b"%d" % source.offset),))


def tokenized(offset: int, weight: int, *, partition: Partition = PARTITION) -> TokenizedItem:
    """Return an item with `weight` tokens."""
    item = Item(record(offset, partition=partition), f"id-{offset}", "hello", frozenset(Task))
    zeros = np.zeros(weight, dtype=np.int32)
    return TokenizedItem(
        item, Tokens(ids=zeros, spans=np.zeros((weight, 2), dtype=np.int32), words=zeros, truncated=False, model="m@1")
    )
