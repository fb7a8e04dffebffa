"""The first offset of a partition's session: the committed offset, or the offset that the settings choose.

A group starts at the latest offset only once. The worker commits the topic's number of partitions at that time with each offset.
A partition without a committed offset and with a higher index was added later, and the group reads it from its first record.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from worker.broker.events import BrokerEvent
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiokafka import AIOKafkaConsumer

    from worker.broker.consumer.group import Group
    from worker.broker.events import OnEvent
    from worker.broker.log_bounds import LogBounds
    from worker.records import Partition

_METADATA = re.compile(r"gist-stream began with (\d+) partitions")


class StartOffsets:
    """Finds the first offset of each session of one group."""

    def __init__(self, auto_offset_reset: str, on_event: OnEvent, *, new_topics: Collection[str] = ()) -> None:
        """Set where a partition without a committed offset starts: `earliest`, `latest`, or `none` for an error.

        `new_topics` came after the start of the group, and begin at their first records.
        """
        self._auto_offset_reset = auto_offset_reset
        self._on_event = on_event
        # By topic, the number of partitions when the group started at the latest offset; 0 if no commit names the number.
        self._num_partitions = dict.fromkeys(new_topics, 0)
        # The partitions with a session since the start of the process, so that the group has committed an offset of each.
        self._begun: set[Partition] = set()

    async def learn(self, consumer: AIOKafkaConsumer, group: Group, topic: str) -> None:
        """Read the number of partitions with which the group started. Raises aiokafka's `KafkaError`."""
        if self._auto_offset_reset != "latest" or topic in self._num_partitions:
            return
        partitions = [TopicPartition(topic, index) for index in sorted(consumer.partitions_for_topic(topic) or ())]
        committed = await group.fetch_committed(partitions)
        numbers = [_parse_metadata(offset.metadata) for offset in committed.values()]
        # A commit without a number is from another program. The first record is the safe start, because it loses nothing.
        known = [number for number in numbers if number is not None]
        self._num_partitions.setdefault(topic, min(known, default=0) if committed else len(partitions))

    async def notice_deletion(self, group: Group, topic: str) -> None:
        """Begin a topic at its first records if it was deleted and created again. Raises aiokafka's `KafkaError`.

        The brokers delete the committed offsets of a deleted topic. Offsets without a number are from a worker that noticed the
        deletion earlier. The group must show each commit at once.
        """
        begun = [TopicPartition(topic, partition.index) for partition in self._begun if partition.topic == topic]
        if not begun or not self._num_partitions.get(topic):
            return
        committed = await group.fetch_committed(begun)
        if len(committed) < len(begun) or all(_parse_metadata(offset.metadata) is None for offset in committed.values()):
            self._num_partitions[topic] = 0

    def metadata(self, topic: str) -> str:
        """Return the metadata to commit with each offset of a topic."""
        number = self._num_partitions.get(topic, 0)
        return f"gist-stream began with {number} partitions" if number else ""

    def note_begun(self, partition: Partition) -> None:
        """Note that a session reads a partition from an offset that the group has committed."""
        self._begun.add(partition)

    def find(self, partition: Partition, committed: int | None, log: LogBounds) -> int:
        """Return the first offset of a session. Raises `BadSettings` if the operator has to choose the offset."""
        if committed is not None and log.contains(committed):
            return committed
        is_new = committed is None and partition not in self._begun
        if not is_new:
            # Retention was faster than the worker, or the topic was deleted and created again. The operator must know.
            self._on_event(
                BrokerEvent.COMMITTED_OFFSET_OUT_OF_RANGE,
                partition=str(partition),
                committed=committed,
                first=log.first,
                end=log.high_watermark,
                auto_offset_reset=self._auto_offset_reset,
            )
        if self._auto_offset_reset == "none":
            raise BadSettings(
                f"{partition}: there is no usable committed offset ({committed}; its log has {log.first} to {log.high_watermark}): "
                "set one with `gist-stream offsets reset`, or set GIST_AUTO_OFFSET_RESET"
            )
        if committed is None and not is_new:
            # The brokers delete the committed offsets of a deleted topic. All records of the new topic came after the start.
            self._num_partitions[partition.topic] = 0
        existed_at_start = partition.index < self._num_partitions.get(partition.topic, 0)
        starts_at_end = self._auto_offset_reset == "latest" and is_new and existed_at_start
        return log.end if starts_at_end else log.first


def _parse_metadata(metadata: str | None) -> int | None:
    match = _METADATA.fullmatch(metadata or "")
    return int(match[1]) if match else None
