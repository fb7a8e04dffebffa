"""Builds the pipeline from settings and its parts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from worker.composition.broker import build_consumer, build_delivery, find_only_topic
from worker.composition.input import build_limits, build_mapping
from worker.composition.model import select_tasks
from worker.errors import BadModel
from worker.flow.options import Options
from worker.flow.outcomes import OutcomeBuilder
from worker.flow.session import Backoff
from worker.model.processor.devices import find_device
from worker.pipeline import Pipeline
from worker.records import Output, Task
from worker.rollout.plan import RolloutPlan
from worker.rollout.router import RolloutRouter
from worker.wire.encode import EmbeddingEncoding
from worker.wire.formats import OutputFormat, dump_json
from worker.wire.layouts import build_layout
from worker.wire.mapping import build_decoder, build_field_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.consumer import Consumer
    from worker.composition.model import ModelLoader
    from worker.observability.metrics import WorkerTelemetry
    from worker.observability.tracing import Tracing
    from worker.ports import ModelRouter, Schemas, ServedModel
    from worker.settings import Settings
    from worker.wire.content import RecordForm
    from worker.wire.formats import Serialize
    from worker.wire.layouts import Layout

# On busy cores the event loop, the tokenizer and the encoder go first: each works for a millisecond at a time, a pass for fifty.
_PASS_NICENESS = 5


def build_options(
    settings: Settings, tasks: frozenset[Task], *, schemas: Schemas | None = None, serialize: Serialize = dump_json
) -> Options:
    """Return the options of the flow; `schemas` are those of the input, and `serialize` writes the results."""
    is_exactly_once = settings.delivery == "exactly_once"
    encoding = EmbeddingEncoding(settings.embedding_encoding)
    is_chunked = settings.long_text == "chunks" and Task.EMBED in tasks
    return Options(
        tasks=tasks,
        limits=build_limits(settings),
        mapping=build_mapping(settings),
        embedding_encoding=encoding,
        layout=_build_layout(settings, encoding, schemas.form if schemas else None, serialize, is_chunked=is_chunked),
        schemas=schemas,
        output_format=OutputFormat(settings.output_format),
        serialize=serialize,
        has_origin=settings.origin_in_values,
        is_chunked=is_chunked,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_s=settings.max_batch_ms / 1000,
        max_batch_records=settings.max_batch_records,
        backfill_topic=settings.backfill_topic or None,
        max_backfill_batch_tokens=settings.max_backfill_batch_tokens,
        max_batch_delay_s=settings.max_batch_delay_ms / 1000,
        max_in_flight_tokens=settings.max_in_flight_tokens,
        resume_in_flight_tokens=settings.resume_in_flight_tokens,
        max_poll_records=settings.max_poll_records,
        max_publish_records=settings.max_transaction_records if is_exactly_once else settings.max_batch_records,
        publish_interval_s=settings.transaction_interval_ms / 1000 if is_exactly_once else 0.0,
        commit_interval_s=settings.commit_interval_ms / 1000,
        drain_timeout_s=settings.drain_timeout_ms / 1000,
        max_consecutive_failures=settings.max_consecutive_failures,
        max_consecutive_dead_letters=settings.max_consecutive_dead_letters,
        dead_letter_hold_s=settings.dead_letter_hold_ms / 1000,
        result_cache_bytes=settings.result_cache_mib * 2**20,
        max_query_texts=settings.api_max_queued_texts if settings.api else 0,
        backoff=Backoff(max_s=settings.retry_backoff_max_ms / 1000),
    )


def build_outcome_builder(
    settings: Settings,
    tasks: frozenset[Task],
    *,
    model_name: str,
    warn: Callable[[str], None],
    form: RecordForm | None = None,
) -> OutcomeBuilder:
    """Return the decoder and encoder of a worker with these settings, for topics without limits. The results are JSON."""
    options = build_options(settings, tasks)
    return OutcomeBuilder(
        name_for=lambda _source: model_name,
        limits=options.limits,
        encoding=options.embedding_encoding,
        max_message_bytes=lambda _output: sys.maxsize,
        layout=_build_layout(settings, options.embedding_encoding, form, dump_json, is_chunked=options.is_chunked),
        has_origin=options.has_origin,
        is_chunked=options.is_chunked,
        is_joint=True,
        tasks=tasks,
        decoder=build_decoder(options.mapping, limits=options.limits, tasks=tasks, warn=warn, form=form),
    )


def _build_layout(
    settings: Settings, encoding: EmbeddingEncoding, form: RecordForm | None, serialize: Serialize, *, is_chunked: bool
) -> Layout | None:
    """Return the layout of `GIST_OUTPUT_LAYOUT`; None for `split`."""
    if settings.output_layout == "split":
        return None
    return build_layout(
        Output(settings.output_layout),
        encoding=encoding,
        result_field=settings.result_field,
        collection=settings.qdrant_collection or settings.input_topic,
        is_chunked=is_chunked,
        has_origin=settings.origin_in_values,
        read_fields=build_field_reader(build_mapping(settings), form),
        serialize=serialize,
    )


async def build_rollout_router(
    settings: Settings, model: ServedModel, loader: ModelLoader, telemetry: WorkerTelemetry
) -> RolloutRouter | None:
    """Return a router with the models of the plan loaded, the first of which is `model`; None without a rollout file."""
    if not settings.rollout_file:
        return None
    tasks = select_tasks(settings, model)

    def load(reference: str) -> ServedModel:
        other = loader.load(reference).model
        if missing := tasks - other.tasks:
            raise BadModel(f"{reference}: the model has no head for {', '.join(sorted(missing))}, which this worker serves")
        return other

    plan = RolloutPlan(settings.model, find_only_topic(settings))
    router = RolloutRouter(Path(settings.rollout_file), plan, model, load=load, telemetry=telemetry)
    await router.start()
    return router


def build_pipeline(
    settings: Settings,
    tasks: frozenset[Task],
    models: ModelRouter,
    connection: Connection,
    telemetry: WorkerTelemetry,
    tracing: Tracing | None,
    *,
    schemas: Schemas | None = None,
    serialize: Serialize = dump_json,
    new_topics: Collection[str] = (),
) -> tuple[Pipeline, Consumer]:
    """Return the pipeline and its consumer, not started. Both use `connection` and its token.

    `new_topics` came after the start of the group.
    """
    consumer = build_consumer(settings, connection, telemetry, new_topics)
    delivery = build_delivery(settings, connection, consumer, tasks)
    pipeline = Pipeline(
        source=consumer,
        delivery=tracing.delivery(delivery) if tracing else delivery,
        models=models,
        telemetry=telemetry,
        options=replace(
            build_options(settings, tasks, schemas=schemas, serialize=serialize), pass_niceness=_find_niceness(settings)
        ),
    )
    return pipeline, consumer


def _find_niceness(settings: Settings) -> int:
    """Return the additional niceness of passes: none for a GPU, because the GPU waits for the thread that starts its passes."""
    return 0 if find_device(settings.device) == "cuda" else _PASS_NICENESS
