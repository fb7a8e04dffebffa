"""The output topics of a worker: what each takes, and where in it a message goes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from worker.broker.admin.permissions import build_topic_rights
from worker.broker.admin.topics import describe_topics
from worker.errors import FatalError, PublishFailed, TopicsMissing
from worker.records import Output, Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.broker.admin.permissions import Operation, Right
    from worker.broker.admin.topics import TopicInfo
    from worker.broker.connection.connection import Connection
    from worker.broker.delivery.batch_producer import RoutedMessage
    from worker.records import Message

# What the batch around a message may add to its size: the batch header and the lengths of its fields.
_OVERHEAD_BYTES = 1_024
# Clocks of machines differ, and a message may wait for its broker: an output topic must allow so much, in milliseconds.
_MIN_CLOCK_DIFFERENCE_MS = 60_000


class OutputTopics:
    """The topics by output; nothing is known of them before `describe`.

    They are described anew by `settle` after a doubt, and every `interval_s` between `start` and `stop`: an operator may have
    changed a limit, or made a topic anew.
    """

    def __init__(self, topics: Mapping[Output, str], *, interval_s: float = 180.0) -> None:
        """Name them."""
        self._topics = topics
        self._interval_s = interval_s
        # What each output topic is: its partitions and what it takes.
        self._shapes: dict[Output, TopicInfo] = {}
        # The largest batch that each of them takes, by topic; producers look here at each message.
        self.max_bytes: dict[str, int] = {}
        # Whether the topics may have changed: something that was published for them failed.
        self.is_doubtful = False
        # When the last description that succeeded began, in seconds of `time.monotonic`.
        self._described_s = -1.0
        # One description at a time.
        self._lock = asyncio.Lock()
        # Describes the topics every so often; None before the start and after the stop.
        self._describing: asyncio.Task[None] | None = None

    def rights(self, *, check_read: bool = False) -> list[Right]:
        """Return what the brokers must allow whoever publishes to the topics; `check_read` says that the topics are read, too."""
        operations: list[Operation] = ["Write", "DescribeConfigs"]
        operations += ["Read"] * check_read
        return build_topic_rights(operations, self._topics.values())

    async def describe(self, connection: Connection, *, check_read: bool = False) -> None:
        """Read what they are.

        Raises `TopicsMissing` also where a topic cannot take what we write, and `BrokerUnavailable` where we may not write to one
        of them. Or not read it: `check_read` says that we must.
        """
        began_s = time.monotonic()
        shapes = await describe_topics(connection, list(self._topics.values()), check_write=True, check_read=check_read)
        if obstacles := [text for output, topic in self._topics.items() if (text := _obstacle(output, topic, shapes[topic]))]:
            raise TopicsMissing("; ".join(obstacles))
        self._shapes = {output: shapes[topic] for output, topic in self._topics.items()}
        self.max_bytes.update({topic: shape.max_message_bytes for topic, shape in shapes.items()})
        self._described_s, self.is_doubtful = began_s, False

    def start(self, connection: Connection, *, on_failure: Callable[[Exception], None]) -> None:
        """Describe the topics every so often from now on; a description that fails changes nothing and is reported."""
        self._describing = asyncio.create_task(self._describe_often(connection, on_failure))

    async def stop(self) -> None:
        """Describe them no more."""
        if self._describing is not None:
            self._describing.cancel()
            await asyncio.wait([self._describing])
            self._describing = None

    async def settle(self, connection: Connection, *, max_age_s: float = 0.0) -> None:
        """Describe the topics anew after a doubt; sessions that ask at the same time share a description.

        A description that is at most `max_age_s` old will do. Raises `PublishFailed` where a topic is missing or cannot be used as
        it is now.
        """
        if not self.is_doubtful:
            return
        asked_s = time.monotonic() - max_age_s
        async with self._lock:
            if self._described_s >= asked_s:
                return
            try:
                await self.describe(connection)
            except FatalError as stop:
                raise PublishFailed(f"the output topics cannot be used: {stop}") from stop

    async def _describe_often(self, connection: Connection, on_failure: Callable[[Exception], None]) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                async with self._lock:
                    await self.describe(connection)
            except FatalError as stop:
                on_failure(stop)

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that this output accepts, less what a batch adds to it."""
        return max(0, self._shapes[output].max_message_bytes - _OVERHEAD_BYTES)

    def needs_key(self, output: Output) -> bool:
        """Tell whether the topic of this output refuses a message without a key."""
        return self._shapes[output].is_compacted

    def map_partitions(self, partition: Partition) -> list[Partition]:
        """Return where the outputs of an input partition go."""
        return [Partition(self._topics[it], partition.index % shape.num_partitions) for it, shape in self._shapes.items()]

    def addressed(self, partition: Partition, message: Message) -> RoutedMessage:
        """Keep the input partition's number, so that the order of a partition, and its keys, stay together."""
        return self._topics[message.output], partition.index % self._shapes[message.output].num_partitions, message


def _obstacle(output: Output, topic: str, shape: TopicInfo) -> str | None:
    """Return why a topic can never take what we write to it, and what to do; None where it can."""
    if shape.min_insync_replicas > shape.num_replicas:
        return (
            f"the topic {topic} takes no message: its min.insync.replicas is {shape.min_insync_replicas}, and its partitions have "
            f"{shape.num_replicas} replica{'s' * (shape.num_replicas > 1)}: lower the one or add the others"
        )
    if shape.max_clock_difference_ms is not None and shape.max_clock_difference_ms < _MIN_CLOCK_DIFFERENCE_MS:
        # The marker that ends a transaction has a timestamp, too: a broker that refuses the marker never ends the transaction.
        return (
            f"the topic {topic} may refuse messages by their timestamps, which may differ from the broker's clock by "
            f"{shape.max_clock_difference_ms} ms: set its message.timestamp.before.max.ms and message.timestamp.after.max.ms to "
            f"{_MIN_CLOCK_DIFFERENCE_MS} or more, or its message.timestamp.type to LogAppendTime"
        )
    if output is Output.DEAD_LETTERS and shape.is_compacted:
        return (
            f"the topic {topic} is compacted: it would refuse the dead letter of a record without a key, and keep only the last "
            "letter of each key: set its cleanup.policy to delete, or name another topic in GIST_DEAD_LETTER_TOPIC"
        )
    return None
