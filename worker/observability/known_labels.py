"""The known labels of counters: each has a sample at 0 from the start. Part of `worker.observability.metrics`.

Prometheus sees no increase in a series whose first sample is 1, and no alert can name a series that does not exist yet.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter

STAGES = ("consume", "decode", "tokenize", "infer", "encode", "publish")
#: The reasons for a record without outputs.
SKIPS = ("empty", "unchanged", "truncate", "message")
OUTPUTS = ("embeddings", "labels", "entities", "dlq", "enriched", "flat", "qdrant")
#: The origins of a result, with a cache of results.
ORIGINS = ("hit", "duplicate", "miss")
REBALANCES = ("assigned", "revoked", "lost")
#: The exceptions that end the session of a partition.
RETRIES = ("PublishFailed", "ConsumerBroken", "OffsetOutOfRange")
#: The steps that are retried outside a session.
RETRIED_STEPS = ("consume", "commit")
#: The events of the Kafka client.
BROKER_EVENTS = (
    "classic_protocol_used",
    "committed_offset_out_of_range",
    "fetch_failed",
    "fetch_stuck",
    "instance_id_in_use",
    "offset_hangs",
    "outputs_hang",
    "outputs_not_described",
    "unreadable_range",
)


def show_zeros(
    *,
    dead_letters: Counter,
    skipped: Counter,
    cached: Counter,
    published: Counter,
    rebalances: Counter,
    sessions_ended: Counter,
    retries: Counter,
    events: Counter,
) -> None:
    """Create the samples of each counter."""
    known = (
        (dead_letters, STAGES),
        (skipped, SKIPS),
        (cached, ORIGINS),
        (published, OUTPUTS),
        (rebalances, REBALANCES),
        (sessions_ended, RETRIES),
        (events, BROKER_EVENTS),
    )
    for counter, labels in known:
        for label in labels:
            counter.labels(label)
    for step, error in product(RETRIED_STEPS, RETRIES):
        retries.labels(step, error)
