"""The output topics of a worker: what each takes, and where in it a message goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.broker.topics import shapes_of
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.broker.connection import Connection
    from worker.broker.producer import Addressed
    from worker.broker.topics import Shape
    from worker.records import Message, Output

# What the batch around a message may add to its size: the batch header and the lengths of its fields.
_OVERHEAD_BYTES = 1_024


class OutputTopics:
    """The topics by output; nothing is known of them before `describe`."""

    def __init__(self, topics: Mapping[Output, str]) -> None:
        """Name them."""
        self._topics = topics
        # What each output topic is: its partitions and the largest message that it takes.
        self._shapes: dict[Output, Shape] = {}

    async def describe(self, connection: Connection, *, are_read: bool = False) -> None:
        """Read what they are; raises `TopicsMissing`, or `BrokerUnavailable` where we may not write to one of them, too.

        Or not read it: `are_read` says that we must.
        """
        shapes = await shapes_of(connection, list(self._topics.values()), are_written=True, are_read=are_read)
        self._shapes = {output: shapes[topic] for output, topic in self._topics.items()}

    @property
    def max_bytes(self) -> dict[str, int]:
        """The largest batch that each of them takes, by topic."""
        return {self._topics[output]: shape.max_message_bytes for output, shape in self._shapes.items()}

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that this output accepts, less what a batch adds to it."""
        return max(0, self._shapes[output].max_message_bytes - _OVERHEAD_BYTES)

    def places_of(self, partition: Partition) -> list[Partition]:
        """Return where the outputs of an input partition go."""
        return [Partition(self._topics[it], partition.index % shape.num_partitions) for it, shape in self._shapes.items()]

    def addressed(self, partition: Partition, message: Message) -> Addressed:
        """Keep the input partition's number, so that the order of a partition, and its keys, stay together."""
        return self._topics[message.output], partition.index % self._shapes[message.output].num_partitions, message
