"""Run a worker: the composition root, where settings become objects, and the life of the process.

The first SIGTERM or SIGINT drains: what is in flight is published and committed, within the drain limit. The second leaves at once;
nothing is lost by that, only done again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import worker
from worker.codec import EmbeddingEncoding, Limits
from worker.errors import BadSettings
from worker.http import HttpServer
from worker.machine import ThreadPlan, keep_freed_memory, num_cores, release_freed_memory, spare_the_collector
from worker.options import Options
from worker.pipeline import Pipeline
from worker.records import OUTPUT_OF_TASK, Output, Task
from worker.session import Backoff
from worker.telemetry import Telemetry, configure_logging

if TYPE_CHECKING:
    from worker.broker.connection import Connection
    from worker.broker.consumer import Consumer
    from worker.model.engine import Engine
    from worker.ports import Delivery
    from worker.settings import Settings

# A poll loop that has not turned for so long is stuck; a rebalance may hold it as long as its own limit.
_STUCK_AFTER_S = 120.0
# How long the event loop may keep the interpreter from the model's thread, which asks for it between any two operations.
_SWITCH_INTERVAL_S = 0.0001
# How many heartbeats a partition that was taken from us waits before we would take it back: by then we know whose it is.
_HEARTBEATS_AFTER_FENCE = 1.5


def run(settings: Settings) -> None:
    """Run until told to stop; raises the `Stop` that ended the worker otherwise."""
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    # Before the first thread: a thread keeps the heap that it began with.
    keep_freed_memory()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    telemetry = Telemetry()
    engine = await asyncio.to_thread(load_engine, settings)
    await asyncio.to_thread(release_freed_memory)
    await asyncio.to_thread(engine.warm_up)
    if settings.create_topics:
        await create_topics(settings)
    pipeline = _pipeline(settings, engine, telemetry)
    _drain_on_signal(pipeline, telemetry)
    spare_the_collector()
    server = HttpServer(
        host=settings.http_host,
        port=settings.http_port,
        registry=telemetry.registry,
        is_live=lambda: None if time.monotonic() - pipeline.last_poll_s < _STUCK_AFTER_S else "the poll loop does not turn",
        is_ready=lambda: None if pipeline.is_ready else "not every partition that is ours takes records yet",
    )
    async with server:
        telemetry.started(
            version=worker.__version__,
            model=engine.name,
            device=engine.description,
            because=engine.because,
            threads=asdict(thread_plan_of(settings)),
            tasks=sorted(_tasks(settings, engine)),
            http=f"{settings.http_host}:{server.port}",
            input=settings.input_topics,
            group=settings.group_id,
            delivery=settings.delivery,
            pid=os.getpid(),
        )
        await pipeline.run()
    telemetry.info("stopped")


def load_engine(settings: Settings) -> Engine:
    """Load the model and check that it can do what is asked of it; raises `BadModel` or `BadSettings`."""
    plan = thread_plan_of(settings)
    plan.prepare()
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
    from worker.broker.connection import Connection  # noqa: PLC0415

    password = settings.sasl_password.get_secret_value() if settings.sasl_password else None
    files = (settings.ssl_ca_file, settings.ssl_cert_file, settings.ssl_key_file)
    ca_file, cert_file, key_file = (str(path) if path else None for path in files)
    return Connection(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=settings.client_id,
        security_protocol=settings.security_protocol,
        sasl_mechanism=settings.sasl_mechanism,
        sasl_username=settings.sasl_username,
        sasl_password=password,
        ssl_ca_file=ca_file,
        ssl_cert_file=cert_file,
        ssl_key_file=key_file,
        request_timeout_ms=settings.request_timeout_ms,
    )


def topics_of(settings: Settings) -> dict[Output, str]:
    """Return the output topics."""
    embeddings, labels, entities, dead_letters = settings.output_topics
    return {Output.EMBEDDINGS: embeddings, Output.LABELS: labels, Output.ENTITIES: entities, Output.DEAD_LETTERS: dead_letters}


async def create_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing, the outputs with as many partitions as the input; return their names."""
    from worker.broker import topics  # noqa: PLC0415

    connection = connection_of(settings)
    there = await topics.partitions_of(connection, settings.input_topics)
    num_partitions = max(there.values(), default=settings.topic_partitions)
    wanted = dict.fromkeys([*settings.input_topics, *settings.output_topics], num_partitions)
    return await topics.create_missing(connection, wanted, replication_factor=settings.replication_factor)


def _tasks(settings: Settings, engine: Engine) -> frozenset[Task]:
    return frozenset(Task(name) for name in settings.tasks) or engine.tasks


def _pipeline(settings: Settings, engine: Engine, telemetry: Telemetry) -> Pipeline:
    from worker.broker.consumer import Consumer  # noqa: PLC0415

    connection, tasks = connection_of(settings), _tasks(settings, engine)
    consumer = Consumer(
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
    delivery = _delivery(settings, consumer, connection, tasks)
    return Pipeline(source=consumer, delivery=delivery, model=engine, telemetry=telemetry, options=options_of(settings, tasks))


def _delivery(settings: Settings, consumer: Consumer, connection: Connection, tasks: frozenset[Task]) -> Delivery:
    from worker.broker.publisher import AtLeastOnce  # noqa: PLC0415
    from worker.broker.transactions import ExactlyOnce  # noqa: PLC0415

    used = {OUTPUT_OF_TASK[task] for task in tasks} | {Output.DEAD_LETTERS}
    topics = {output: topic for output, topic in topics_of(settings).items() if output in used}
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
        backoff=Backoff(max_s=settings.max_backoff_ms / 1000),
    )


def _drain_on_signal(pipeline: Pipeline, telemetry: Telemetry) -> None:
    num_signals = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal num_signals
        num_signals += 1
        if num_signals > 1:
            telemetry.info("left", signal=number.name)
            # Threads may be deep in a forward pass; nothing short of this ends them.
            os._exit(128 + number)
        telemetry.info("draining", signal=number.name)
        pipeline.drain()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
