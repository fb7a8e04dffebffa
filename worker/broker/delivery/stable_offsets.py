"""The committed offset of a group, and whether it is stable (KIP-447).

An offset is unstable while the coordinator does not know how its transaction ended. aiokafka has no version of
OffsetFetch that asks for stable offsets, so this module defines version 7 of the request.
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


class _OffsetFetchResponseV7(Response):  # type: ignore[misc]  # aiokafka has no types
    """The response of OffsetFetch, version 7."""

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


class _OffsetFetchRequestV7(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    """OffsetFetch, version 7: the first version with `require_stable`."""

    FLEXIBLE_VERSION = True
    API_KEY = _API_KEY
    API_VERSION = 7
    RESPONSE_TYPE = _OffsetFetchResponseV7
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(("name", CompactString("utf-8")), ("partition_indexes", CompactArray(Int32)), ("tags", TaggedFields)),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _OffsetFetchRequest(Request[_OffsetFetchRequestV7]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = _API_KEY

    def __init__(self, group_id: str, partition: Partition, *, require_stable: bool) -> None:
        self._fields = group_id, [(partition.topic, [partition.index], _NO_TAGS)], require_stable, _NO_TAGS

    def build(self, request_struct_class: type[_OffsetFetchRequestV7]) -> _OffsetFetchRequestV7:
        return request_struct_class(*self._fields)


class UnstableOffset(Exception):
    """An offset was sent in a transaction, and the coordinator does not know whether it was committed."""


async def fetch_committed_offset(
    client: AIOKafkaClient, coordinator: int, group_id: str, partition: Partition, *, require_stable: bool
) -> int | None:
    """Return the committed offset of a group, or None, from the broker with the id `coordinator`.

    Raises `KafkaError`, also if that broker is not the coordinator. With `require_stable` it raises `UnstableOffset`.
    """
    response = await client.send(
        coordinator, _OffsetFetchRequest(group_id, partition, require_stable=require_stable), group=ConnectionGroup.COORDINATION
    )
    # An error of the group has no partition.
    offset, code = (-1, response.error_code) if response.error_code else _parse_partition(response.topics)
    if code == _UNSTABLE_OFFSET_COMMIT:
        raise UnstableOffset
    if code:
        raise for_code(code)(f"the committed offset of {partition} cannot be read")
    return None if offset < 0 else offset


def _parse_partition(topics: Sequence[Any]) -> tuple[int, int]:
    """Return the offset and the error code of the only partition in a response."""
    ((_topic, ((_index, offset, _epoch, _metadata, code, _tags),), _topic_tags),) = topics
    return int(offset), int(code)
