"""The output topics of a worker: their limits, and the topic and partition of each message."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from worker.broker.admin.permissions import build_topic_rights
from worker.broker.admin.topics import describe_topics
from worker.broker.events import BrokerEvent
from worker.errors import FatalError, PublishFailed, TopicsMissing, describe_error
from worker.records import Output, Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.broker.admin.permissions import Operation, Right
    from worker.broker.admin.topics import TopicInfo
    from worker.broker.connection.connection import Connection
    from worker.broker.delivery.batch_producer import RoutedMessage
    from worker.broker.events import OnEvent
    from worker.records import Message

# The most that a batch adds to the size of a message: its header and the lengths of its fields.
_OVERHEAD_BYTES = 1_024
#: After a refused message, a description of the topics of this age in seconds is recent enough: many refusals may follow.
RECENT_S = 5.0
# Clocks of machines differ, and a message may wait for its broker. An output topic must allow this difference, in milliseconds.
_MIN_CLOCK_DIFFERENCE_MS = 60_000


class OutputTopics:
    """The topics by input topic and output. `describe` reads their limits.

    An operator may change a limit or create a topic again. The topics are therefore described again by `refresh` after
    a failure, and every `interval_s` between `start` and `stop`.
    """

    def __init__(self, topics: Mapping[str, Mapping[Output, str]], *, interval_s: float = 180.0) -> None:
        """Set the names of the topics; the limits are unknown before `describe`."""
        self._topics = topics
        # The output of each topic. Several input topics may share a topic of one output.
        self._output_by_name = {name: output for route in topics.values() for output, name in route.items()}
        self._interval_s = interval_s
        # By name of the topic.
        self._infos: dict[str, TopicInfo] = {}
        # The largest message by output. The flow reads the limit for each message.
        self._limits: dict[Output, int] = {}
        # The largest batch by name of the topic. Producers read it for each message.
        self.max_bytes: dict[str, int] = {}
        # Whether the topics may have changed, because a publication failed.
        self.is_doubtful = False
        # When the last successful description began, in seconds of `time.monotonic`.
        self._described_s = -1.0
        # One description at a time.
        self._lock = asyncio.Lock()
        # The task that describes the topics at intervals; None before `start` and after `stop`.
        self._describing: asyncio.Task[None] | None = None

    def rights(self, *, check_read: bool = False) -> list[Right]:
        """Return the rights to publish to the topics, and with `check_read` the right to read them."""
        operations: list[Operation] = ["Write", "DescribeConfigs"]
        operations += ["Read"] * check_read
        return build_topic_rights(operations, self._output_by_name)

    async def describe(self, connection: Connection, *, check_read: bool = False) -> None:
        """Read the limits of the topics.

        Raises `TopicsMissing`, also for a topic that cannot accept the outputs. Raises `BrokerUnavailable`, also if the ACLs do not
        allow writing, or with `check_read` reading.
        """
        began_s = time.monotonic()
        infos = await describe_topics(connection, list(self._output_by_name), check_write=True, check_read=check_read)
        obstacles = [_find_obstacle(output, topic, infos[topic]) for topic, output in self._output_by_name.items()]
        if found := [obstacle for obstacle in obstacles if obstacle]:
            raise TopicsMissing("; ".join(found))
        self._infos = infos
        self._limits = {output: self._find_limit(output) for output in set(self._output_by_name.values())}
        self.max_bytes.update({topic: info.max_message_bytes for topic, info in infos.items()})
        self._described_s, self.is_doubtful = began_s, False

    def start(self, connection: Connection, *, on_failure: Callable[[Exception], None]) -> None:
        """Describe the topics at intervals from now on. A failure changes nothing and is reported to `on_failure`."""
        self._describing = asyncio.create_task(self._describe_at_intervals(connection, on_failure))

    async def stop(self) -> None:
        """End the descriptions at intervals."""
        if self._describing is not None:
            self._describing.cancel()
            await asyncio.wait([self._describing])
            self._describing = None

    async def refresh(self, connection: Connection, *, max_age_s: float = 0.0) -> None:
        """Describe the topics again after a failure. Concurrent sessions share a description.

        A description that is at most `max_age_s` old is recent enough. Raises `PublishFailed` if a topic is missing or unusable.
        """
        if not self.is_doubtful:
            return
        oldest_s = time.monotonic() - max_age_s
        async with self._lock:
            if self._described_s >= oldest_s:
                return
            try:
                await self.describe(connection)
            except FatalError as error:
                raise PublishFailed(f"the output topics cannot be used: {error}") from error

    async def _describe_at_intervals(self, connection: Connection, on_failure: Callable[[Exception], None]) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                async with self._lock:
                    await self.describe(connection)
            except FatalError as error:
                on_failure(error)

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that every topic of an output accepts, without the overhead of a batch."""
        return self._limits[output]

    def needs_key(self, output: Output) -> bool:
        """Tell whether a topic of an output refuses a message without a key."""
        return any(info.is_compacted for info in self._list_infos(output))

    def _find_limit(self, output: Output) -> int:
        return max(0, min(info.max_message_bytes for info in self._list_infos(output)) - _OVERHEAD_BYTES)

    def _list_infos(self, output: Output) -> list[TopicInfo]:
        return [info for name, info in self._infos.items() if self._output_by_name[name] is output]

    def map_partitions(self, partition: Partition) -> list[Partition]:
        """Return the output partitions of an input partition, one for each output."""
        names = self._topics[partition.topic].values()
        return [Partition(name, partition.index % self._infos[name].num_partitions) for name in names]

    def route(self, partition: Partition, message: Message) -> RoutedMessage:
        """Return a message with its topic and partition. The partition has the index of the input, so that the order is kept."""
        name = self._topics[partition.topic][message.output]
        return name, partition.index % self._infos[name].num_partitions, message


class LimitedByTopics:
    """The part of a delivery that reads the limits of its output topics."""

    def __init__(self, connection: Connection, outputs: OutputTopics, on_event: OnEvent) -> None:
        """Describe the topics through `connection`; a failure is an event."""
        self._connection = connection
        self._outputs = outputs
        self._on_event = on_event

    async def refresh_limits(self) -> None:
        """Describe the output topics again if the description is older than a few seconds; a failure is reported."""
        self._outputs.is_doubtful = True
        try:
            await self._outputs.refresh(self._connection, max_age_s=RECENT_S)
        except PublishFailed as error:
            self._report_not_described(error)

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that an output accepts, without the overhead of a batch."""
        return self._outputs.max_message_bytes(output)

    def needs_key(self, output: Output) -> bool:
        """Tell whether the topic of an output refuses a message without a key."""
        return self._outputs.needs_key(output)

    def _report_not_described(self, error: Exception) -> None:
        self._on_event(BrokerEvent.OUTPUTS_NOT_DESCRIBED, error=describe_error(error))


def _find_obstacle(output: Output, topic: str, info: TopicInfo) -> str | None:
    """Return why a topic can never accept the outputs and what to do, or None if it can."""
    if info.min_insync_replicas > info.num_replicas:
        return (
            f"the topic {topic} accepts no message: its min.insync.replicas is {info.min_insync_replicas}, and its partitions have "
            f"{info.num_replicas} replica{'s' * (info.num_replicas > 1)}: lower min.insync.replicas or add replicas"
        )
    if info.max_clock_difference_ms is not None and info.max_clock_difference_ms < _MIN_CLOCK_DIFFERENCE_MS:
        # The marker of a transaction has a timestamp, too. A broker that refuses the marker never ends the transaction.
        return (
            f"the topic {topic} may refuse messages by their timestamps, which may differ from the broker's clock by "
            f"{info.max_clock_difference_ms} ms: set its message.timestamp.before.max.ms and message.timestamp.after.max.ms to "
            f"{_MIN_CLOCK_DIFFERENCE_MS} or more, or its message.timestamp.type to LogAppendTime"
        )
    if output is Output.DEAD_LETTERS and info.is_compacted:
        return (
            f"the topic {topic} is compacted: it would refuse the dead letter of a record without a key, and keep only the last "
            "dead letter of each key: set its cleanup.policy to delete, or name another topic in GIST_DEAD_LETTER_TOPIC"
        )
    return None
