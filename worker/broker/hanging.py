"""Whether an offset hangs: it is part of a transaction whose marker the group's coordinator has not got.

That is what the coordinator calls not stable. Kafka's client for Python does not ask it, and so neither knows the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.client import ConnectionGroup
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

if TYPE_CHECKING:
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


class _StableOffset(Request[_Question]):  # type: ignore[misc]
    API_KEY = _API_KEY

    def __init__(self, group_id: str, partition: Partition) -> None:
        self._group_id = group_id
        self._partition = partition

    def build(self, request_struct_class: type[_Question]) -> _Question:
        topics = [(self._partition.topic, [self._partition.index], _NO_TAGS)]
        return request_struct_class(self._group_id, topics, True, _NO_TAGS)  # noqa: FBT003  the fields of a request have no names


async def offset_hangs(client: AIOKafkaClient, coordinator: int, group_id: str, partition: Partition) -> bool:
    """Ask the group's coordinator, a node's number, about the offset of a partition. Raises `KafkaError`."""
    answer = await client.send(coordinator, _StableOffset(group_id, partition), group=ConnectionGroup.COORDINATION)
    codes = [answer.error_code, *(it[4] for _, partitions, _ in answer.topics for it in partitions)]
    wrong = [it for it in codes if it not in {0, _UNSTABLE_OFFSET_COMMIT}]
    if wrong:
        raise for_code(wrong[0])(f"the offset of {partition} cannot be asked for")
    return _UNSTABLE_OFFSET_COMMIT in codes
