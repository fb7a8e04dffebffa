"""The requests about consumer groups that aiokafka 0.14 does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.protocol.types import Boolean, CompactArray, Int8, Int16, Int32

from worker.broker.message_types import NO_TAGS, TEXT, FixedVersionRequest, Uuid, build_array, build_struct, declare_request

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The resource type of a group's settings since Kafka 4.0.
GROUP_RESOURCE = 32
# The operation that gives a setting a value.
_SET = 0
_ASSIGNMENT = build_struct(
    (
        "topic_partitions",
        build_array(("topic_id", Uuid), ("topic_name", TEXT), ("partitions", CompactArray(Int32))),
    ),
)
_MEMBERS = build_array(
    ("member_id", TEXT),
    ("instance_id", TEXT),
    ("rack_id", TEXT),
    ("member_epoch", Int32),
    ("client_id", TEXT),
    ("client_host", TEXT),
    ("subscribed_topic_names", CompactArray(TEXT)),
    ("subscribed_topic_regex", TEXT),
    ("assignment", _ASSIGNMENT),
    ("target_assignment", _ASSIGNMENT),
    # -1 is unknown, 0 is a classic member, and 1 is a member of the consumer protocol.
    ("member_type", Int8),
)
# Version 1 (Kafka 4.0): the first version that names the protocol of each member.
ConsumerGroupDescribe = declare_request(
    "ConsumerGroupDescribe",
    69,
    1,
    build_struct(("group_ids", CompactArray(TEXT)), ("include_authorized_operations", Boolean)),
    build_struct(
        ("throttle_time_ms", Int32),
        (
            "groups",
            build_array(
                ("error_code", Int16),
                ("error_message", TEXT),
                ("group_id", TEXT),
                ("group_state", TEXT),
                ("group_epoch", Int32),
                ("assignment_epoch", Int32),
                ("assignor_name", TEXT),
                ("members", _MEMBERS),
                ("authorized_operations", Int32),
            ),
        ),
    ),
)
# Version 1: the first flexible version.
IncrementalAlterConfigs = declare_request(
    "IncrementalAlterConfigs",
    44,
    1,
    build_struct(
        (
            "resources",
            build_array(
                ("type", Int8),
                ("name", TEXT),
                ("configs", build_array(("name", TEXT), ("operation", Int8), ("value", TEXT))),
            ),
        ),
        ("validate_only", Boolean),
    ),
    build_struct(
        ("throttle_time_ms", Int32),
        ("responses", build_array(("error_code", Int16), ("error_message", TEXT), ("type", Int8), ("name", TEXT))),
    ),
)


def build_describe(group_id: str) -> FixedVersionRequest:
    """Return the request to describe a group of the consumer protocol (KIP-848)."""
    return FixedVersionRequest(ConsumerGroupDescribe, [group_id], False)  # noqa: FBT003  without the permitted operations


def build_alter_settings(group_id: str, values: Mapping[str, str]) -> FixedVersionRequest:
    """Return the request to set settings of a group; the other settings of the group stay."""
    configs = [(name, _SET, value, NO_TAGS) for name, value in values.items()]
    return FixedVersionRequest(IncrementalAlterConfigs, [(GROUP_RESOURCE, group_id, configs, NO_TAGS)], False)  # noqa: FBT003  validate_only
