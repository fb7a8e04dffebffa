"""Where settings become objects: one small function for each of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from worker.errors import BadSettings
from worker.flow.options import Options
from worker.flow.session import Backoff
from worker.host import ThreadPlan, num_cores
from worker.records import OUTPUT_OF_TASK, Output, Task
from worker.wire.encode import EmbeddingEncoding, Limits

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pydantic import SecretStr

    from worker.broker.connection.connection import Connection
    from worker.broker.connection.oauth import TokenProvider
    from worker.broker.consumer.consumer import Consumer
    from worker.model.engine import Engine
    from worker.observability.metrics import Telemetry
    from worker.ports import Delivery
    from worker.settings import Settings

# How many heartbeats a partition that was taken from us waits before we would take it back: by then we know whose it is.
_HEARTBEATS_AFTER_FENCE = 1.5


def load_engine(settings: Settings) -> Engine:
    """Load the model and check that it can do what is asked of it; raises `BadModel` or `BadSettings`."""
    plan = thread_plan_of(settings)
    plan.prepare()
    if settings.cache_dir:
        # The compiler of the kernels reads the environment: commands without settings use it, too.
        os.environ["GIST_CACHE_DIR"] = settings.cache_dir
    # Heavy: only a process that needs the model pays for it. And not earlier: its libraries read the plan when they are loaded.
    from worker.model.engine import Engine  # noqa: PLC0415
    from worker.model.windows import Windowing  # noqa: PLC0415

    windowing = Windowing(overlap_tokens=settings.window_overlap_tokens, max_windows=settings.max_windows)
    engine = Engine.load(
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        backend=settings.backend,
        threads=plan.matmul,
        passes=settings.concurrent_passes,
        max_tokens=settings.max_text_tokens or None,
        windowing=windowing if settings.long_text == "window" else None,
    )
    if missing := settings.tasks - engine.tasks:
        raise BadSettings(f"GIST_TASKS: the model {engine.name} has no head for {', '.join(sorted(missing))}")
    if settings.batch_tokens < engine.max_tokens:
        raise BadSettings(f"GIST_BATCH_TOKENS is below the longest text of the model {engine.name}: {engine.max_tokens} tokens")
    return engine


def thread_plan_of(settings: Settings) -> ThreadPlan:
    """Return how many threads do what."""
    return ThreadPlan.of(num_cores(), matmul=settings.threads, tokenizer=settings.tokenizer_threads)


def connection_of(settings: Settings) -> Connection:
    """Return how to reach the brokers."""
    from worker.broker.connection.connection import Connection  # noqa: PLC0415

    return Connection(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=settings.client_id,
        security_protocol=settings.security_protocol,
        sasl_mechanism=settings.sasl_mechanism,
        sasl_username=settings.sasl_username,
        sasl_password=_secret(settings.sasl_password),
        tokens=_tokens_of(settings),
        ssl_ca_file=_path(settings.ssl_ca_file),
        ssl_cert_file=_path(settings.ssl_cert_file),
        ssl_key_file=_path(settings.ssl_key_file),
        ssl_key_password=_secret(settings.ssl_key_password),
        request_timeout_ms=settings.request_timeout_ms,
    )


def _tokens_of(settings: Settings) -> TokenProvider | None:
    from worker.broker.connection.oauth import provider_of  # noqa: PLC0415

    url, extensions = settings.sasl_oauthbearer_token_endpoint_url, settings.sasl_oauthbearer_extensions
    if settings.sasl_mechanism != "OAUTHBEARER" or not url:
        return None
    return provider_of(
        url,
        client_id=settings.sasl_oauthbearer_client_id,
        client_secret=_secret(settings.sasl_oauthbearer_client_secret),
        scope=settings.sasl_oauthbearer_scope,
        extensions=dict(it.strip().split("=", 1) for it in extensions.split(",")) if extensions else {},
        ca_file=_path(settings.https_ca_file),
    )


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def _path(path: Path | None) -> str | None:
    return str(path) if path else None


def topics_of(settings: Settings) -> dict[Output, str]:
    """Return the output topics."""
    embeddings, labels, entities, dead_letters = settings.output_topics
    return {Output.EMBEDDINGS: embeddings, Output.LABELS: labels, Output.ENTITIES: entities, Output.DEAD_LETTERS: dead_letters}


def served_tasks_of(settings: Settings) -> frozenset[Task]:
    """Return the tasks that a worker would serve, without loading the model; all of them where the model does not tell."""
    from worker.model.served import read_tasks  # noqa: PLC0415

    return frozenset(Task(name) for name in settings.tasks) or read_tasks(settings.model) or frozenset(Task)


def used_topics_of(settings: Settings, tasks: Collection[Task]) -> dict[Output, str]:
    """Return the output topics of some tasks, and that of the dead letters."""
    used = {OUTPUT_OF_TASK[task] for task in tasks} | {Output.DEAD_LETTERS}
    return {output: topic for output, topic in topics_of(settings).items() if output in used}


async def create_topics(settings: Settings, tasks: Collection[Task] = tuple(Task)) -> list[str]:
    """Create the topics that are missing, the outputs of `tasks` with as many partitions as the input; return their names."""
    from worker.broker.admin import topics  # noqa: PLC0415

    connection = connection_of(settings)
    there = await topics.partitions_of(connection, settings.input_topics)
    num_partitions = max(there.values(), default=settings.topic_partitions)
    wanted = dict.fromkeys([*settings.input_topics, *used_topics_of(settings, tasks).values()], num_partitions)
    return await topics.create_missing(connection, wanted, replication_factor=settings.replication_factor)


def tasks_of(settings: Settings, engine: Engine) -> frozenset[Task]:
    """Return the tasks that are served: all that the model can, or those that were chosen."""
    return frozenset(Task(name) for name in settings.tasks) or engine.tasks


def consumer_of(settings: Settings, connection: Connection, telemetry: Telemetry) -> Consumer:
    """Return our member of the group, not yet started."""
    from worker.broker.consumer.consumer import Consumer  # noqa: PLC0415

    return Consumer(
        connection,
        topics=settings.input_topics,
        group_id=settings.group_id,
        group_instance_id=settings.group_instance_id,
        on_event=telemetry.broker_event,
        start_at=settings.start_at,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.rebalance_timeout_ms,
    )


def delivery_of(settings: Settings, connection: Connection, consumer: Consumer, tasks: frozenset[Task]) -> Delivery:
    """Return the way of delivery that is asked for, not yet started."""
    from worker.broker.delivery.at_least_once import AtLeastOnce  # noqa: PLC0415
    from worker.broker.delivery.exactly_once import ExactlyOnce  # noqa: PLC0415

    topics = used_topics_of(settings, tasks)
    compression = None if settings.compression == "none" else settings.compression
    step_timeout_s = settings.publish_timeout_ms / 1000
    if settings.delivery == "at_least_once":
        return AtLeastOnce(consumer, connection, topics=topics, compression=compression, step_timeout_s=step_timeout_s)
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


def options_of(settings: Settings, tasks: frozenset[Task]) -> Options:
    """Return what the flow is told, as plain values."""
    limits: dict[str, Any] = {name: getattr(settings, name) for name in Limits.__dataclass_fields__}
    return Options(
        tasks=tasks,
        limits=Limits(**limits),
        embedding_encoding=EmbeddingEncoding(settings.embedding_encoding),
        batch_tokens=settings.batch_tokens,
        batch_records=settings.batch_records,
        backfill_topic=settings.backfill_topic or None,
        backfill_batch_tokens=settings.backfill_batch_tokens,
        max_wait_s=settings.max_wait_ms / 1000,
        look_ahead_records=settings.batch_records,
        tokens_in_flight_high=settings.tokens_in_flight_high,
        tokens_in_flight_low=settings.tokens_in_flight_low,
        max_poll_records=settings.max_poll_records,
        max_publish_records=settings.transaction_records if settings.delivery == "exactly_once" else settings.batch_records,
        publish_interval_s=settings.transaction_interval_ms / 1000 if settings.delivery == "exactly_once" else 0.0,
        commit_interval_s=settings.commit_interval_ms / 1000,
        drain_timeout_s=settings.drain_timeout_ms / 1000,
        max_consecutive_failures=settings.max_consecutive_failures,
        max_consecutive_dead_letters=settings.max_consecutive_dead_letters,
        dead_letter_hold_s=settings.dead_letter_hold_ms / 1000,
        backoff=Backoff(max_s=settings.max_backoff_ms / 1000),
    )
