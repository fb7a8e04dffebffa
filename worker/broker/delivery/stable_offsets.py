"""What a group has committed of a partition, and whether another offset hangs: its coordinator knows no end of the transaction.

That is what coordinators call not stable. Kafka's client for Python does not ask, and so does not know the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.client import ConnectionGroup
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.client import AIOKafkaClient

    from worker.records import Partition

_API_KEY = 9
_UNSTABLE_OFFSET_COMMIT = 88
_NO_TAGS: dict[int, bytes] = {}


class _Answer(Response):  # type: ignore[misc]
    """OffsetFetch, version 7."""

    API_KEY = _API_KEY
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("committed_offset", Int64),
                        ("committed_leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    """OffsetFetch, version 7: the first in which one may ask for what is stable alone."""

    FLEXIBLE_VERSION = True
    API_KEY = _API_KEY
    API_VERSION = 7
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(("name", CompactString("utf-8")), ("partition_indexes", CompactArray(Int32)), ("tags", TaggedFields)),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _OffsetFetchRequest(Request[_Question]):  # type: ignore[misc]
    API_KEY = _API_KEY

    def __init__(self, group_id: str, partition: Partition, *, require_stable: bool) -> None:
        self._fields = group_id, [(partition.topic, [partition.index], _NO_TAGS)], require_stable, _NO_TAGS

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class(*self._fields)


class UnstableOffset(Exception):
    """An offset was sent in a transaction, and whether it was committed the coordinator does not know."""


async def fetch_committed_offset(
    client: AIOKafkaClient, coordinator: int, group_id: str, partition: Partition, *, require_stable: bool
) -> int | None:
    """Ask one broker, by its number, what a group has committed of a partition; None where it has nothing.

    Raises `KafkaError`, also where that broker is not the coordinator, and `UnstableOffset` if `require_stable` asks for it.
    """
    answer = await client.send(
        coordinator, _OffsetFetchRequest(group_id, partition, require_stable=require_stable), group=ConnectionGroup.COORDINATION
    )
    # What is wrong with the group is said of no partition.
    offset, code = (-1, answer.error_code) if answer.error_code else _only(answer.topics)
    if code == _UNSTABLE_OFFSET_COMMIT:
        raise UnstableOffset
    if code:
        raise for_code(code)(f"the offset of {partition} cannot be asked for")
    return None if offset < 0 else offset


def _only(topics: Sequence[Any]) -> tuple[int, int]:
    """Return offset and error code of the one partition that was asked for."""
    ((_topic, ((_index, offset, _epoch, _words, code, _tags),), _more_tags),) = topics
    return int(offset), int(code)
