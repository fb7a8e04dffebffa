"""Small makers of the nouns, for tests that care about one property of them."""

from __future__ import annotations

import numpy as np

from worker.records import Item, Message, Outcome, Output, Partition, Record, Task, TokenizedItem, Tokens

PARTITION = Partition("texts", 0)


def record(offset: int, value: bytes | None = b'{"text":"hello"}', *, partition: Partition = PARTITION) -> Record:
    """Return a record at an offset."""
    return Record(partition, offset, b"key-%d" % offset, value, timestamp_ms=1_700_000_000_000 + offset)


def outcome(source: Record) -> Outcome:
    """Return an outcome with one message that names its offset."""
    return Outcome(source, (Message(Output.EMBEDDINGS, source.key, b"%d" % source.offset),))


def tokenized(offset: int, weight: int, *, partition: Partition = PARTITION) -> TokenizedItem:
    """Return an item of so many tokens."""
    item = Item(record(offset, partition=partition), f"id-{offset}", "hello", frozenset(Task))
    zeros = np.zeros(weight, dtype=np.int32)
    return TokenizedItem(item, Tokens(ids=zeros, spans=np.zeros((weight, 2), dtype=np.int32), words=zeros, truncated=False))
