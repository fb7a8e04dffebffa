"""Where the session of a partition begins: at the committed offset, or where the settings say.

A group that begins at the latest offset does so once. The number of partitions that the topic had then is committed beside each
offset. A partition without a committed offset and with a higher number was added later: its first record is new to the group.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from worker.broker.consumer.fetcher import OnEvent
    from worker.records import Partition

_METADATA = re.compile(r"gist-stream began with (\d+) partitions")


@dataclass(frozen=True, slots=True)
class Log:
    """The offsets that bound the log of a partition."""

    first: int
    #: The last stable offset: the end for a reader of committed records.
    end: int
    #: The end for every other reader: behind the records of open transactions.
    high_watermark: int


async def read_log(client: AIOKafkaConsumer, where: TopicPartition, timeout_ms: int) -> Log:
    """Return the bounds of a partition's log. Raises the client's `KafkaError`."""
    first = (await client.beginning_offsets([where]))[where]
    end = (await client.end_offsets([where]))[where]
    high_watermark = (await read_high_watermarks(client, [where], timeout_ms))[where]
    return Log(first, end, max(end, high_watermark))


async def read_high_watermarks(
    client: AIOKafkaConsumer, places: Sequence[TopicPartition], timeout_ms: int
) -> Mapping[TopicPartition, int]:
    """Return where partitions end for readers of uncommitted records. Raises the client's `KafkaError`."""
    # The client asks with the isolation level of its fetcher: a copy asks with another.
    uncommitted = copy.copy(client._fetcher)  # noqa: SLF001  there is no public way
    uncommitted._isolation_level = READ_UNCOMMITTED  # noqa: SLF001  the same
    ends: Mapping[TopicPartition, int] = await uncommitted.end_offsets(places, timeout_ms)
    return ends


class StartOffsets:
    """Finds the first offset of each session of one group."""

    def __init__(self, auto_offset_reset: str, on_event: OnEvent) -> None:
        """Begin at `earliest` or `latest`, or nowhere (`none`), where the group has committed nothing."""
        self._start_at = auto_offset_reset
        self._on_event = on_event
        # By topic, how many partitions the topic had when the group began at the latest offset; 0 where nobody noted the number.
        self._num_partitions: dict[str, int] = {}

    async def learn(self, client: AIOKafkaConsumer, topic: str) -> None:
        """Learn how many partitions the topic had when the group began. Raises the client's `KafkaError`."""
        if self._start_at != "latest" or topic in self._num_partitions:
            return
        places = [TopicPartition(topic, index) for index in sorted(client.partitions_for_topic(topic) or ())]
        committed = await client._coordinator.fetch_committed_offsets(places)  # noqa: SLF001  the public way drops the metadata
        noted = [_read_metadata(offset.metadata) for offset in committed.values()]
        # A commit without the number is another program's, or an older version's. What had begun by then is unknown, and to read
        # a partition whole loses nothing.
        known = [number for number in noted if number is not None]
        self._num_partitions.setdefault(topic, min(known, default=0) if committed else len(places))

    def metadata(self, topic: str) -> str:
        """Return what to commit beside each offset of a topic."""
        number = self._num_partitions.get(topic, 0)
        return f"gist-stream began with {number} partitions" if number else ""

    def find(self, partition: Partition, committed: int | None, log: Log) -> int:
        """Return the offset at which a session begins. Raises `BadSettings` where the operator has to choose the offset."""
        if committed is not None and log.first <= committed <= log.high_watermark:
            return committed
        fields = {"committed": committed, "first": log.first, "end": log.high_watermark, "auto_offset_reset": self._start_at}
        if committed is not None:
            # Retention was faster than the worker, or the topic was created anew: the operator must know.
            self._on_event("committed_offset_out_of_range", partition=str(partition), **fields)
        if self._start_at == "none":
            raise BadSettings(
                f"{partition}: there is no usable committed offset ({committed}; its log has {log.first} to {log.high_watermark}): "
                "set one"
            )
        is_old = partition.index < self._num_partitions.get(partition.topic, 0)
        return log.end if self._start_at == "latest" and committed is None and is_old else log.first


def _read_metadata(metadata: str | None) -> int | None:
    found = _METADATA.fullmatch(metadata or "")
    return int(found[1]) if found else None
