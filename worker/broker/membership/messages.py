"""The messages of a member that aiokafka 0.14 does not have. `requests` builds and reads them."""

from __future__ import annotations

from aiokafka.protocol.types import Boolean, CompactArray, Int16, Int32, Int64

from worker.broker.message_types import TEXT, NullableStruct, Uuid, build_array, build_struct, declare_request

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

# Version 1 (Kafka 4.0): the member makes its own id.
ConsumerGroupHeartbeat = declare_request(
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
OffsetCommit = declare_request(
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
OffsetFetch = declare_request(
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
TxnOffsetCommit = declare_request(
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
Metadata = declare_request(
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
