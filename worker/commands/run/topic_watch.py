"""Notices topics that begin or cease to match the pattern of a running worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.errors import FatalError

if TYPE_CHECKING:
    from worker.composition.input_topics import TopicFinder
    from worker.observability.metrics import WorkerTelemetry
    from worker.pipeline import Pipeline
    from worker.settings import Settings


async def watch_topics(finder: TopicFinder, served: Settings, pipeline: Pipeline, telemetry: WorkerTelemetry) -> None:
    """Drain the pipeline when other topics than the served ones match the pattern."""
    while True:
        await asyncio.sleep(served.metadata_max_age_ms / 1000)
        try:
            found = await finder.find(served)
        except FatalError as error:
            telemetry.retry("consume", error)
            continue
        if found.live_topics != served.live_topics:
            telemetry.info("input_topics_changed", topics=found.live_topics)
            pipeline.drain()
            return
