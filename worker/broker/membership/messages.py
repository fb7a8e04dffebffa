"""The messages of a member that aiokafka 0.14 does not have. `requests` builds and reads them.

Names, order and versions of the fields are those of Kafka's message definitions:
https://github.com/apache/kafka/tree/4.3.1/clients/src/main/resources/common/message. All are flexible versions, without tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, Int16, Int32, Int64

from worker.broker.membership.field_types import TEXT, NullableStruct, Uuid, build_array, build_struct

if TYPE_CHECKING:
    from aiokafka.protocol.types import Schema

_TOPIC_PARTITIONS = build_array(("topic_id", Uuid), ("partitions", CompactArray(Int32)))
_OFFSETS_TO_COMMIT = build_array(
    ("name", TEXT),
    (
        "partitions",
        build_array(
            ("partition_index", Int32),
            ("committed_offset", Int64),
            ("committed_leader_epoch", Int32),
            ("committed_metadata", TEXT),
        ),
    ),
)
_COMMIT_ERRORS = build_array(("name", TEXT), ("partitions", build_array(("partition_index", Int32), ("error_code", Int16))))


def _declare(name: str, api_key: int, version: int, request: Schema, response: Schema) -> type[RequestStruct]:
    """Return the class of a request, which names the class of its response."""
    numbers = {"API_KEY": api_key, "API_VERSION": version}
    response_type = type(f"{name}Response", (Response,), {**numbers, "SCHEMA": response})
    namespace = {**numbers, "SCHEMA": request, "FLEXIBLE_VERSION": True, "RESPONSE_TYPE": response_type}
    return type(f"{name}Request", (RequestStruct,), namespace)


# Version 1 (Kafka 4.0): the member makes its own id.
ConsumerGroupHeartbeat = _declare(
    "ConsumerGroupHeartbeat",
    68,
    1,
    build_struct(
        ("group_id", TEXT),
        ("member_id", TEXT),
        ("member_epoch", Int32),
        ("instance_id", TEXT),
        ("rack_id", TEXT),
        ("rebalance_timeout_ms", Int32),
        ("subscribed_topic_names", CompactArray(TEXT)),
        ("subscribed_topic_regex", TEXT),
        ("server_assignor", TEXT),
        ("topic_partitions", _TOPIC_PARTITIONS),
    ),
    build_struct(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", TEXT),
        ("member_id", TEXT),
        ("member_epoch", Int32),
        ("heartbeat_interval_ms", Int32),
        ("assignment", NullableStruct(("topic_partitions", _TOPIC_PARTITIONS))),
    ),
)
# Version 9: the first version for members of this protocol.
OffsetCommit = _declare(
    "OffsetCommit",
    8,
    9,
    build_struct(
        ("group_id", TEXT),
        ("generation_id_or_member_epoch", Int32),
        ("member_id", TEXT),
        ("group_instance_id", TEXT),
        ("topics", _OFFSETS_TO_COMMIT),
    ),
    build_struct(
        ("throttle_time_ms", Int32),
        ("topics", _COMMIT_ERRORS),
    ),
)
# Version 9: the first version with a member and its epoch.
OffsetFetch = _declare(
    "OffsetFetch",
    9,
    9,
    build_struct(
        (
            "groups",
            build_array(
                ("group_id", TEXT),
                ("member_id", TEXT),
                ("member_epoch", Int32),
                ("topics", build_array(("name", TEXT), ("partition_indexes", CompactArray(Int32)))),
            ),
        ),
        ("require_stable", Boolean),
    ),
    build_struct(
        ("throttle_time_ms", Int32),
        (
            "groups",
            build_array(
                ("group_id", TEXT),
                (
                    "topics",
                    build_array(
                        ("name", TEXT),
                        (
                            "partitions",
                            build_array(
                                ("partition_index", Int32),
                                ("committed_offset", Int64),
                                ("committed_leader_epoch", Int32),
                                ("metadata", TEXT),
                                ("error_code", Int16),
                            ),
                        ),
                    ),
                ),
                ("error_code", Int16),
            ),
        ),
    ),
)
# Version 3: the first version with a member and its epoch.
TxnOffsetCommit = _declare(
    "TxnOffsetCommit",
    28,
    3,
    build_struct(
        ("transactional_id", TEXT),
        ("group_id", TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", TEXT),
        ("group_instance_id", TEXT),
        ("topics", _OFFSETS_TO_COMMIT),
    ),
    build_struct(
        ("throttle_time_ms", Int32),
        ("topics", _COMMIT_ERRORS),
    ),
)
# Version 12: the first version that finds topics by their ids.
Metadata = _declare(
    "Metadata",
    3,
    12,
    build_struct(
        ("topics", build_array(("topic_id", Uuid), ("name", TEXT))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
    ),
    build_struct(
        ("throttle_time_ms", Int32),
        ("brokers", build_array(("node_id", Int32), ("host", TEXT), ("port", Int32), ("rack", TEXT))),
        ("cluster_id", TEXT),
        ("controller_id", Int32),
        (
            "topics",
            build_array(
                ("error_code", Int16),
                ("name", TEXT),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    build_array(
                        ("error_code", Int16),
                        ("partition_index", Int32),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("replica_nodes", CompactArray(Int32)),
                        ("isr_nodes", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                    ),
                ),
                ("topic_authorized_operations", Int32),
            ),
        ),
    ),
)
