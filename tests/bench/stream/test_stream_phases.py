"""The helpers of the phases: published outputs, fill of batches, requests, settings."""

from __future__ import annotations

import json

from worker.bench.stream import phases
from worker.broker.connection.connection import Connection


def test_a_dead_letter_counts_as_all_outputs() -> None:
    """The count of published outputs shows when all records are answered."""
    counters = {
        'gist_messages_published_total{output="embeddings"}': 4.0,
        'gist_messages_published_total{output="labels"}': 4.0,
        'gist_messages_published_total{output="entities"}': 4.0,
        'gist_messages_published_total{output="dlq"}': 1.0,
        'gist_messages_published_created{output="dlq"}': 1e9,
        "gist_batch_fill_ratio_sum": 1.5,
        "gist_batch_fill_ratio_count": 2.0,
    }
    assert phases.count_published(counters) == 5 * phases.NUM_OUTPUTS
    assert phases.read_fill_ratio(counters) == 0.75
    assert phases.read_fill_ratio({}) == 0


def test_a_blank_text_is_replaced() -> None:
    """A blank text would become a dead letter."""
    assert json.loads(phases.build_request(" \n", 3)) == {"id": "message-3", "text": "(blank)"}


def test_the_settings_name_all_topics() -> None:
    """The environment cannot change them."""
    topic = phases.Topics(Connection(bootstrap_servers="nowhere:1"), "bench-1", num_partitions=2)
    assert topic.settings == {
        "input_topic": "bench-1",
        "output_layout": "split",
        "embeddings_topic": "bench-1.embeddings",
        "labels_topic": "bench-1.labels",
        "entities_topic": "bench-1.entities",
        "dead_letter_topic": "bench-1.dlq",
    }
