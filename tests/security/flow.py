"""A worker with a fake model in this process."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from tests.fakes import FakeModel
from tests.integration.support.workers import map_topic_outputs
from worker.broker.admin import topics
from worker.broker.tools.clients import follow, open_producer
from worker.composition import broker
from worker.composition import pipeline as pipelines
from worker.observability.metrics import WorkerTelemetry
from worker.records import SPLIT_OUTPUTS, Output
from worker.rollout.router import SingleModel
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.broker.connection.connection import Connection
    from worker.pipeline import Pipeline

# Short intervals, so that a test sees the second attempt.
QUICK = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 200, "commit_interval_ms": 50, "retry_backoff_max_ms": 200}


async def create_topics(connection: Connection, topic: str | None = None) -> str:
    """Create an input topic of one partition and its output topics, and return the name of the input topic."""
    name = topic or f"texts-{uuid.uuid4().hex[:8]}"
    await topics.create_missing(connection, dict.fromkeys([name, *map_topic_outputs(name)], 1))
    return name


def build_pipeline(settings: dict[str, Any], telemetry: WorkerTelemetry | None = None) -> Pipeline:
    """Return the pipeline of a worker, not yet running."""
    chosen, model = read(QUICK | settings), FakeModel()
    connection = broker.build_connection(chosen)
    flow, _ = pipelines.build_pipeline(chosen, model.tasks, SingleModel(model), connection, telemetry or WorkerTelemetry(), None)
    return flow


@contextlib.asynccontextmanager
async def serving(settings: dict[str, Any], telemetry: WorkerTelemetry | None = None) -> AsyncIterator[Pipeline]:
    """Run a worker until the end of the block, drain it, and raise its exception."""
    flow = build_pipeline(settings, telemetry)
    life = asyncio.create_task(flow.run())
    try:
        while not flow.is_ready and not life.done():  # noqa: ASYNC110  the pipeline sends no notification
            await asyncio.sleep(0.02)
        yield flow
        flow.drain()
        await life
    finally:
        life.cancel()
        await asyncio.wait([life])


async def send(connection: Connection, topic: str, text: str) -> None:
    """Produce one record."""
    async with open_producer(connection, linger_ms=0) as producer:
        await producer.send(topic, b'{"text": "%b"}' % text.encode(), key=text.encode())


async def read_outputs(connection: Connection, topic: str, text: str) -> set[Output]:
    """Return the outputs of a text once all of them have arrived, or the dead letter."""
    outputs, found = map_topic_outputs(topic), set[Output]()
    async with contextlib.aclosing(follow(connection, list(outputs), from_beginning=True)) as arriving:
        async for records in arriving:
            found |= {outputs[record.partition.topic] for record in records if record.key == text.encode()}
            if len(found) == len(SPLIT_OUTPUTS) - 1 or Output.DEAD_LETTERS in found:
                break
    return found
