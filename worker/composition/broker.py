"""Builds the connection, the topics, the consumer and the delivery from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.composition.encoders import find_tasks
from worker.errors import BadSettings
from worker.records import OUTPUT_OF_TASK, Output, Task

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pydantic import SecretStr

    from worker.broker.connection.connection import Connection
    from worker.broker.connection.oauth import TokenProvider
    from worker.broker.consumer.consumer import Consumer
    from worker.observability.metrics import WorkerTelemetry
    from worker.ports import Delivery
    from worker.settings import Settings


# A fenced partition is reopened after this number of heartbeat intervals: by then a rebalance has named the owner.
_HEARTBEATS_AFTER_FENCE = 1.5


def build_connection(settings: Settings) -> Connection:
    """Return the connection to the brokers."""
    from worker.broker.connection.connection import Connection  # noqa: PLC0415

    return Connection(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=settings.client_id,
        security_protocol=settings.security_protocol,
        sasl_mechanism=settings.sasl_mechanism,
        sasl_username=settings.sasl_username,
        sasl_password=_secret(settings.sasl_password),
        tokens=_build_token_provider(settings),
        ssl_ca_file=_path(settings.ssl_ca_file),
        ssl_cert_file=_path(settings.ssl_cert_file),
        ssl_key_file=_path(settings.ssl_key_file),
        ssl_key_password=_secret(settings.ssl_key_password),
        request_timeout_ms=settings.request_timeout_ms,
    )


def _build_token_provider(settings: Settings) -> TokenProvider | None:
    if settings.sasl_oauthbearer_method == "aws_msk_iam":
        from worker.broker.connection.msk import build_msk_provider  # noqa: PLC0415

        return build_msk_provider(settings.bootstrap_servers)
    url, extensions = settings.sasl_oauthbearer_token_endpoint_url, settings.sasl_oauthbearer_extensions
    if settings.sasl_mechanism != "OAUTHBEARER" or not url:
        return None
    from worker.broker.connection.oauth import build_token_provider  # noqa: PLC0415  the HTTP client is imported slowly

    return build_token_provider(
        url,
        client_id=settings.sasl_oauthbearer_client_id,
        client_secret=_secret(settings.sasl_oauthbearer_client_secret),
        scope=settings.sasl_oauthbearer_scope,
        extensions=dict(extension.strip().split("=", 1) for extension in extensions.split(",")) if extensions else {},
        ca_file=_path(settings.sasl_oauthbearer_ca_file),
    )


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def _path(path: Path | None) -> str | None:
    return str(path) if path else None


def find_only_topic(settings: Settings) -> str | None:
    """Return the input topic; None if there are several, or may be several."""
    return None if settings.input_topic_pattern or len(settings.live_topics) > 1 else settings.input_topic


def require_one_topic(settings: Settings) -> str:
    """Return the input topic. Raises `BadSettings` if there are several."""
    if len(settings.live_topics) > 1:
        raise BadSettings(f"GIST_INPUT_TOPIC names {len(settings.live_topics)} topics: select one of them with --input-topic")
    return settings.input_topic


def map_output_topics(settings: Settings, input_topic: str | None = None) -> dict[Output, str]:
    """Return the topic of each output of the layout for an input topic; by default for the first one."""
    topics = settings.name_output_topics(input_topic or settings.live_topics[0])
    return {Output(output): topic for output, topic in topics.items()}


def find_served_tasks(settings: Settings) -> frozenset[Task]:
    """Return the tasks to serve without loading the model; all tasks if the manifest names none."""
    return frozenset(Task(name) for name in settings.tasks) or find_tasks(settings.model) or frozenset(Task)


def map_routes(settings: Settings, tasks: Collection[Task]) -> dict[str, dict[Output, str]]:
    """Return the output topics of these tasks, and the dead-letter topic, by input topic.

    A topic for all results serves every task.
    """
    unused = {OUTPUT_OF_TASK[task] for task in Task if task not in tasks}
    return {
        topic: {output: name for output, name in map_output_topics(settings, topic).items() if output not in unused}
        for topic in settings.input_topics
    }


def list_used_topics(settings: Settings, tasks: Collection[Task]) -> dict[str, Output]:
    """Return the output of each topic that a worker with these tasks writes, in the order of the input topics."""
    return {name: output for route in map_routes(settings, tasks).values() for output, name in route.items()}


async def create_topics(settings: Settings, tasks: Collection[Task] = tuple(Task)) -> list[str]:
    """Create the missing topics and return their names. Output topics have as many partitions as their input topics."""
    from worker.broker.admin import topics  # noqa: PLC0415

    connection = build_connection(settings)
    existing = await topics.count_partitions(connection, settings.input_topics)
    wanted: dict[str, int] = {}
    for topic, route in map_routes(settings, tasks).items():
        # A missing backfill topic is like the input topic.
        num_partitions = existing.get(topic) or max(existing.values(), default=settings.topic_partitions)
        for name in (topic, *route.values()):
            wanted[name] = max(num_partitions, wanted.get(name, 0))
    return await topics.create_missing(connection, wanted, replication_factor=settings.replication_factor)


def build_consumer(
    settings: Settings, connection: Connection, telemetry: WorkerTelemetry, new_topics: Collection[str] = ()
) -> Consumer:
    """Return the member of the consumer group, not started. `new_topics` came after the start of the group."""
    from worker.broker.consumer.consumer import Consumer  # noqa: PLC0415

    return Consumer(
        connection,
        topics=settings.input_topics,
        group_id=settings.group_id,
        group_instance_id=settings.group_instance_id,
        group_protocol=settings.group_protocol,
        client_rack=settings.client_rack or None,
        on_event=telemetry.broker_event,
        auto_offset_reset=settings.auto_offset_reset,
        new_topics=new_topics,
        metadata_max_age_ms=settings.metadata_max_age_ms,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.rebalance_timeout_ms,
    )


def build_delivery(settings: Settings, connection: Connection, consumer: Consumer, tasks: frozenset[Task]) -> Delivery:
    """Return the delivery that `GIST_DELIVERY` names, not started."""
    topics = map_routes(settings, tasks)
    compression = None if settings.compression == "none" else settings.compression
    step_timeout_s = settings.delivery_timeout_ms / 1000
    if settings.delivery == "at_least_once":
        from worker.broker.delivery.at_least_once import AtLeastOnce  # noqa: PLC0415  only this delivery

        return AtLeastOnce(consumer, connection, topics=topics, compression=compression, step_timeout_s=step_timeout_s)
    from worker.broker.delivery.exactly_once import ExactlyOnce  # noqa: PLC0415  the same

    return ExactlyOnce(
        consumer,
        connection,
        topics=topics,
        group_id=settings.group_id,
        compression=compression,
        step_timeout_s=step_timeout_s,
        transaction_timeout_s=settings.transaction_timeout_ms / 1000,
        fenced_pause_s=_HEARTBEATS_AFTER_FENCE * settings.heartbeat_interval_ms / 1000,
        allow_old_brokers=settings.allow_old_brokers,
    )
