"""The output topics on a real Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.broker.admin.topics import create_missing
from worker.broker.delivery.output_topics import OutputTopics
from worker.errors import TopicsMissing
from worker.records import Message, Output, Partition

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


async def test_a_message_keeps_the_index_of_its_input_partition(connection: Connection, topic: str) -> None:
    """The index is taken modulo the number of partitions of the output topic."""
    await create_missing(connection, {f"{topic}.a": 2})
    await create_missing(connection, {f"{topic}.b": 1}, configuration={"max.message.bytes": "5000"})
    outputs = OutputTopics({Output.LABELS: f"{topic}.a", Output.ENTITIES: f"{topic}.b"})
    await outputs.describe(connection)
    label, entity = Message(Output.LABELS, b"k", b"v"), Message(Output.ENTITIES, b"k", b"v")
    assert [outputs.route(Partition(topic, index), label)[:2] for index in range(3)] == [
        (f"{topic}.a", index) for index in (0, 1, 0)
    ]
    assert outputs.route(Partition(topic, 5), entity) == (f"{topic}.b", 0, entity)
    assert outputs.max_bytes[f"{topic}.b"] == 5_000 < outputs.max_bytes[f"{topic}.a"]
    assert outputs.max_message_bytes(Output.ENTITIES) < 5_000 < outputs.max_message_bytes(Output.LABELS)


async def test_the_description_fails_with_the_name_of_a_missing_topic(connection: Connection, topic: str) -> None:
    with pytest.raises(TopicsMissing, match=f"{topic}.a"):
        await OutputTopics({Output.LABELS: f"{topic}.a"}).describe(connection)
