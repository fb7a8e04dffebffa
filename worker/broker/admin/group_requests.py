"""The requests about consumer groups that aiokafka 0.14 does not have, by the published message definitions of Kafka 4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)
# The topic id of 16 bytes is read as two numbers, because the description also has the name.
_ASSIGNMENT = Schema(
    (
        "topic_partitions",
        CompactArray(
            ("topic_id_high", Int64), ("topic_id_low", Int64), ("topic_name", _TEXT), ("partitions", CompactArray(Int32)), _TAGS
        ),
    ),
    _TAGS,
)
_MEMBERS = CompactArray(
    ("member_id", _TEXT),
    ("instance_id", _TEXT),
    ("rack_id", _TEXT),
    ("member_epoch", Int32),
    ("client_id", _TEXT),
    ("client_host", _TEXT),
    ("subscribed_topic_names", CompactArray(_TEXT)),
    ("subscribed_topic_regex", _TEXT),
    ("assignment", _ASSIGNMENT),
    ("target_assignment", _ASSIGNMENT),
    # -1 is unknown, 0 is a classic member, and 1 is a member of the consumer protocol.
    ("member_type", Int8),
    _TAGS,
)


class ConsumerGroupDescribeResponse_v1(Response):  # type: ignore[misc]  # noqa: N801  aiokafka has no types, and this form of names
    """The groups, each with an error code."""

    API_KEY = 69
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("error_code", Int16),
                ("error_message", _TEXT),
                ("group_id", _TEXT),
                ("group_state", _TEXT),
                ("group_epoch", Int32),
                ("assignment_epoch", Int32),
                ("assignor_name", _TEXT),
                ("members", _MEMBERS),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class ConsumerGroupDescribeRequest_v1(RequestStruct):  # type: ignore[misc]  # noqa: N801  aiokafka has no types, and this form of names
    """Version 1 (Kafka 4.0) is the first that names the protocol of each member."""

    FLEXIBLE_VERSION = True
    API_KEY = 69
    API_VERSION = 1
    RESPONSE_TYPE = ConsumerGroupDescribeResponse_v1
    SCHEMA = Schema(("group_ids", CompactArray(_TEXT)), ("include_authorized_operations", Boolean), _TAGS)


class ConsumerGroupDescribeRequest(Request[ConsumerGroupDescribeRequest_v1]):  # type: ignore[misc]  # aiokafka has no types
    """Asks the coordinator to describe a group of the consumer protocol (KIP-848)."""

    API_KEY = 69

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    def build(self, request_struct_class: type[ConsumerGroupDescribeRequest_v1]) -> ConsumerGroupDescribeRequest_v1:
        """Return the request of this version."""
        return request_struct_class([self._group_id], False, {})  # noqa: FBT003  aiokafka takes fields by position


class IncrementalAlterConfigsResponse_v0(Response):  # type: ignore[misc]  # noqa: N801  aiokafka has no types, and this form of names
    """The resources, each with an error code."""

    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(("error_code", Int16), ("error_message", String("utf-8")), ("type", Int8), ("name", String("utf-8"))),
        ),
    )


class IncrementalAlterConfigsRequest_v0(RequestStruct):  # type: ignore[misc]  # noqa: N801  aiokafka has no types, and this form of names
    """The changes of some settings; the other settings of a resource stay."""

    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = IncrementalAlterConfigsResponse_v0
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("type", Int8),
                ("name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class AlterGroupConfigRequest(Request[IncrementalAlterConfigsRequest_v0]):  # type: ignore[misc]  # aiokafka has no types
    """Sets settings of a group; the other settings of the group stay."""

    API_KEY = 44
    #: The resource type of a group's settings since Kafka 4.0.
    GROUP = 32
    _SET = 0

    def __init__(self, group_id: str, values: Mapping[str, str]) -> None:
        configs = [(name, self._SET, value) for name, value in values.items()]
        self._fields = ([(self.GROUP, group_id, configs)], False)

    def build(self, request_struct_class: type[IncrementalAlterConfigsRequest_v0]) -> IncrementalAlterConfigsRequest_v0:
        """Return the request of this version."""
        return request_struct_class(*self._fields)
