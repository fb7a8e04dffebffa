"""The settings of delivery: guarantees, timeouts and failures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worker.settings.batches import BatchSettings


class DeliverySettings(BatchSettings):
    """Transactions, commits, the consumer group, retries and limits of failures."""

    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description=(
            "Delivery guarantee. With `at_least_once`, a crash can repeat outputs, which have the same ids. With "
            "`exactly_once`, outputs and offset are one transaction, so readers of committed records see each output "
            "once; the latency grows by `GIST_TRANSACTION_INTERVAL_MS`."
        ),
    )
    transaction_interval_ms: int = Field(
        100,
        ge=0,
        le=10_000,
        description=(
            "Time between the starts of two transactions of a partition, in milliseconds; above 8 partitions the time "
            "grows in proportion. Read only with `exactly_once`. Raise this for less load on the brokers; lower this "
            "for earlier results."
        ),
    )
    max_transaction_records: int = Field(
        1000,
        ge=1,
        le=65_536,
        description=(
            "Maximum records of a transaction: a full transaction does not wait for `GIST_TRANSACTION_INTERVAL_MS`. "
            "Read only with `exactly_once` and by replays."
        ),
    )
    transaction_timeout_ms: int = Field(
        30_000,
        ge=1_000,
        le=900_000,
        description=(
            "Time after which the brokers abort the transaction of a worker that crashed, in milliseconds. Until then "
            "readers wait; a new owner of the partition ends it sooner. Read only with `exactly_once` and by replays. "
            "Must not exceed `transaction.max.timeout.ms` of the brokers."
        ),
    )
    allow_old_brokers: bool = Field(
        default=False,
        description="Permit `exactly_once` on brokers before Kafka 4.0, where a takeover can cause duplicates. Off by default.",
    )
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = Field(
        "zstd",
        description=(
            "Compression of the outputs. `zstd` reduces vectors in JSON to 37 %, at a tenth of the CPU time of `lz4`. "
            "Choose `none` if the brokers compress."
        ),
    )
    commit_interval_ms: int = Field(
        1000,
        ge=10,
        le=60_000,
        description=(
            "Time between two commits of offsets, in milliseconds: a crash repeats at most the work of this time. Read "
            "only with `at_least_once`. Raise this for fewer requests to the brokers."
        ),
    )
    drain_timeout_ms: int = Field(
        20_000,
        ge=100,
        le=600_000,
        description=(
            "Time for the work in flight to finish when partitions are revoked or the worker stops, in milliseconds. "
            "Must be below `GIST_REBALANCE_TIMEOUT_MS`, and below the grace period of an orchestrator. Raise this for "
            "long texts or slow brokers."
        ),
    )
    session_timeout_ms: int = Field(
        45_000,
        ge=6_000,
        le=1_800_000,
        description=(
            "Time without a heartbeat after which the group gives the partitions of a worker to others, in "
            "milliseconds. Lower this for a faster takeover after a crash; raise this if busy machines lose their "
            "membership. With the `consumer` protocol the brokers' setting `consumer.session.timeout.ms` of the group "
            "applies, which `gist-stream topics --create` sets to this value. If the setting of the group is longer, "
            "`GIST_GROUP_PROTOCOL=auto` selects `classic`, so this value applies. With `consumer` a worker uses this value only "
            "for the time that a heartbeat waits for its answer: 40% of this value."
        ),
    )
    heartbeat_interval_ms: int = Field(
        500,
        ge=100,
        le=600_000,
        description=(
            "Time between two heartbeats, in milliseconds: the delay until a worker notices a rebalance, and part of the "
            "pause after the end of another worker. At most a third of `GIST_SESSION_TIMEOUT_MS`. Raise this if the heartbeats "
            "of hundreds of workers load the coordinator of their group."
        ),
    )
    rebalance_timeout_ms: int = Field(
        60_000,
        ge=6_000,
        le=1_800_000,
        description=(
            "Time that the group waits for its members during a rebalance, in milliseconds. Must be above "
            "`GIST_DRAIN_TIMEOUT_MS`; raise both together."
        ),
    )
    request_timeout_ms: int = Field(
        90_000,
        ge=1_000,
        le=1_800_000,
        description=(
            "Time for the answer to one request to a broker, in milliseconds. Must be above "
            "`GIST_REBALANCE_TIMEOUT_MS`, because a broker answers to a join of the group only after the rebalance."
        ),
    )
    delivery_timeout_ms: int = Field(
        30_000,
        ge=1_000,
        le=600_000,
        description=(
            "Time for the acknowledgement of a record or a commit, in milliseconds; after this the partition starts "
            "again from its committed offset. The default covers the failover of a broker, about 15 s."
        ),
    )
    retry_backoff_max_ms: int = Field(
        10_000,
        ge=100,
        le=600_000,
        description=(
            "Maximum pause before a failed partition is tried again, in milliseconds. The pauses double up to this "
            "limit. Lower this for a faster recovery; raise this for less load during a long failure."
        ),
    )
    max_consecutive_failures: int = Field(
        100,
        ge=1,
        description=(
            "Number of failures after which the worker stops: failures at any stage in a topic without a result so far "
            "(exit code 8), or consecutive failures of the model (exit code 6). Raise this if a topic begins with more "
            "bad records."
        ),
    )
    max_consecutive_dead_letters: int = Field(
        0,
        ge=0,
        description=(
            "Number of consecutive dead letters of a topic after which the worker stops with exit code 8, also after "
            "earlier results. 0: no limit, because a bad record should not stop the others. Set a limit if a person "
            "must look first. Example: `1000`."
        ),
    )
    dead_letter_hold_ms: int = Field(
        10_000,
        ge=0,
        le=600_000,
        description=(
            "Time that dead letters wait for the first result of their topic, in milliseconds. Until then their offsets"
            " are not committed, so a worker with wrong settings does not empty the topic into the dead letters. Raise "
            "this for a slow topic; 0 publishes each dead letter at once."
        ),
    )
