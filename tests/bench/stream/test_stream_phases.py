"""The phases' small decisions: what counts as answered, how full the batches were, what is sent."""

from __future__ import annotations

import json

from worker.bench.stream import phases as stream_phases
from worker.broker.connection.connection import Connection


def test_a_dead_letter_stands_for_all_outputs() -> None:
    """So that a count of acknowledged messages tells when everything is answered."""
    counters = {
        'gist_messages_published_total{output="embeddings"}': 4.0,
        'gist_messages_published_total{output="labels"}': 4.0,
        'gist_messages_published_total{output="entities"}': 4.0,
        'gist_messages_published_total{output="dlq"}': 1.0,
        'gist_messages_published_created{output="dlq"}': 1e9,
        "gist_batch_fill_ratio_sum": 1.5,
        "gist_batch_fill_ratio_count": 2.0,
    }
    assert stream_phases.published(counters) == 5 * stream_phases.NUM_OUTPUTS
    assert stream_phases.fill_ratio(counters) == 0.75
    assert stream_phases.fill_ratio({}) == 0


def test_no_message_is_blank() -> None:
    """A blank text would be a dead letter, and no work."""
    assert json.loads(stream_phases.request(" \n", 3)) == {"id": "message-3", "text": "(blank)"}


def test_a_worker_is_told_all_of_its_topics() -> None:
    """Whatever the environment says of them."""
    topic = stream_phases.Topics(Connection(bootstrap_servers="nowhere:1"), "bench-1", num_partitions=2)
    assert topic.settings == {
        "input_topic": "bench-1",
        "embeddings_topic": "bench-1.embeddings",
        "labels_topic": "bench-1.labels",
        "entities_topic": "bench-1.entities",
        "dead_letter_topic": "bench-1.dlq",
    }
