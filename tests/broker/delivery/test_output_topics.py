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
    outputs = OutputTopics({topic: {Output.LABELS: f"{topic}.a", Output.ENTITIES: f"{topic}.b"}})
    await outputs.describe(connection)
    label, entity = Message(Output.LABELS, b"k", b"v"), Message(Output.ENTITIES, b"k", b"v")
    assert [outputs.route(Partition(topic, index), label)[:2] for index in range(3)] == [
        (f"{topic}.a", index) for index in (0, 1, 0)
    ]
    assert outputs.route(Partition(topic, 5), entity) == (f"{topic}.b", 0, entity)
    assert outputs.max_bytes[f"{topic}.b"] == 5_000 < outputs.max_bytes[f"{topic}.a"]
    assert outputs.max_message_bytes(Output.ENTITIES) < 5_000 < outputs.max_message_bytes(Output.LABELS)


async def test_each_input_topic_has_outputs_of_its_own_or_shares_them(connection: Connection, topic: str) -> None:
    """The smallest limit of an output's topics holds for the output, and one compacted topic needs keys."""
    names = [f"{topic}.{name}" for name in ("a", "b", "all")]
    await create_missing(connection, {names[0]: 1, names[2]: 1})
    await create_missing(connection, {names[1]: 2}, configuration={"max.message.bytes": "5000", "cleanup.policy": "compact"})
    routes = {name: {Output.LABELS: f"{topic}.{name}", Output.ENTITIES: names[2]} for name in ("a", "b")}
    outputs = OutputTopics(routes)
    await outputs.describe(connection)
    message = Message(Output.LABELS, b"k", b"v")
    assert [outputs.route(Partition(name, 3), message)[:2] for name in ("a", "b")] == [(names[0], 0), (names[1], 1)]
    assert outputs.map_partitions(Partition("b", 3)) == [Partition(names[1], 1), Partition(names[2], 0)]
    assert outputs.max_message_bytes(Output.LABELS) < 5_000 < outputs.max_message_bytes(Output.ENTITIES)
    assert (outputs.needs_key(Output.LABELS), outputs.needs_key(Output.ENTITIES)) == (True, False)


async def test_the_description_fails_with_the_name_of_a_missing_topic(connection: Connection, topic: str) -> None:
    with pytest.raises(TopicsMissing, match=f"{topic}.a"):
        await OutputTopics({topic: {Output.LABELS: f"{topic}.a"}}).describe(connection)
