"""The pipeline: settings and parts to the whole flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.composition.broker import consumer_of, delivery_of
from worker.composition.model import load_engine, tasks_of
from worker.composition.tracing import _traced
from worker.errors import BadModel
from worker.flow.options import Options
from worker.flow.session import Backoff
from worker.pipeline import Pipeline
from worker.rollout.plan import Plan
from worker.rollout.router import RolledOut
from worker.wire.encode import EmbeddingEncoding, Limits

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection
    from worker.broker.consumer.consumer import Consumer
    from worker.model.engine import Engine
    from worker.observability.metrics import Telemetry
    from worker.observability.tracing import Tracing
    from worker.ports import Model, Models
    from worker.records import Task
    from worker.settings import Settings


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


async def _rollout(settings: Settings, engine: Engine, telemetry: Telemetry, tracing: Tracing | None) -> RolledOut | None:
    """Return the models of a roll-out, where there may be one, those loaded that its plan names."""
    if not settings.rollout_file:
        return None
    tasks = tasks_of(settings, engine)

    def load(reference: str) -> Model:
        other = load_engine(settings.model_copy(update={"model": reference}))
        if missing := tasks - other.tasks:
            raise BadModel(f"{reference}: it has no head for {', '.join(sorted(missing))}, which this worker serves")
        return _traced(other, tracing)

    plan = Plan(settings.model, settings.input_topic)
    models = RolledOut(Path(settings.rollout_file), plan, _traced(engine, tracing), load=load, telemetry=telemetry)
    await models.start()
    return models


def _pipeline(
    settings: Settings,
    tasks: frozenset[Task],
    models: Models,
    connection: Connection,
    telemetry: Telemetry,
    tracing: Tracing | None,
) -> tuple[Pipeline, Consumer]:
    """Return the whole flow, not yet running, and the source that it reads. Both talk through `connection`, with its one token."""
    consumer = consumer_of(settings, connection, telemetry)
    delivery = delivery_of(settings, connection, consumer, tasks)
    pipeline = Pipeline(
        source=consumer,
        delivery=tracing.delivery(delivery) if tracing else delivery,
        models=models,
        telemetry=telemetry,
        options=options_of(settings, tasks),
    )
    return pipeline, consumer
