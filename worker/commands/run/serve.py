"""Serve a model over HTTP without Kafka."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import worker
from worker.commands.run.process import prepare_process
from worker.commands.run.run import Health, build_server, drain_on_signal, load_model, log_choice
from worker.commands.variables import find_warnings
from worker.composition import api as apis
from worker.composition.model import ModelLoader, select_tasks
from worker.flow.monitor import Monitor
from worker.host import freeze_gc
from worker.observability.metrics import WorkerTelemetry
from worker.rollout.router import SingleModel

if TYPE_CHECKING:
    from worker.api.queries import Queries
    from worker.observability.tracing import Tracing
    from worker.settings import Settings


def serve(settings: Settings) -> None:
    """Serve a model over HTTP, without Kafka, until a signal.

    The routes are those of `gist-stream run` with GIST_API=true. The first SIGTERM, SIGINT or SIGHUP refuses new requests and
    answers those in flight. The second ends the process at once.
    """
    with prepare_process(settings) as tracing:
        asyncio.run(_serve(settings, tracing))


async def _serve(settings: Settings, tracing: Tracing | None) -> None:
    telemetry, health = WorkerTelemetry(), _ServeHealth()
    for warning in find_warnings():
        telemetry.ineffective_setting(warning)
    access = apis.build_api_options(settings, telemetry.api_warning, is_shared=False)
    async with build_server(settings, health, telemetry) as server:
        telemetry.info("loading", model=settings.model, http=server.address)
        loading = asyncio.to_thread(ModelLoader(settings, tracing).load, settings.model)
        loaded = await load_model(loading, health, telemetry)
        tasks = select_tasks(settings, loaded.model)
        telemetry.models([loaded.model.name])
        for engine in loaded.engines:
            log_choice(engine, telemetry)
        queries = apis.build_queries(settings, tasks, SingleModel(loaded.model), telemetry)
        drain_on_signal(health, telemetry)
        async with apis.build_api(settings, access, tasks, health.find_queries, telemetry, tracing) as api:
            telemetry.started(
                version=worker.__version__,
                model=loaded.model.name,
                device=loaded.description,
                tasks=sorted(tasks),
                http=server.address,
                api=api.address,
                pid=os.getpid(),
            )
            freeze_gc()
            health.queries = queries
            telemetry.info("ready", api=api.address)
            await _serve_until_signal(queries, health, telemetry)
    telemetry.info("stopped")


async def _serve_until_signal(queries: Queries, health: Health, telemetry: WorkerTelemetry) -> None:
    """Answer requests until a signal, then those in flight. Raises the error that ended the batches otherwise."""
    batches, stopping = asyncio.create_task(queries.serve(Monitor(telemetry))), asyncio.create_task(health.stopping.wait())
    try:
        await asyncio.wait({batches, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if batches.done():
            batches.result()
        await queries.drain()
    finally:
        for task in (batches, stopping):
            task.cancel()
        await asyncio.wait({batches, stopping})


@dataclass(slots=True)
class _ServeHealth(Health):
    """The answers of the probes of a worker without a stream."""

    #: None until the endpoint listens.
    queries: Queries | None = None

    def find_queries(self) -> Queries | None:
        """Return the queries; None until the endpoint listens."""
        return self.queries

    def describe_wait(self) -> str | None:
        """Return the reason if the endpoint is not ready."""
        if self.queries is None:
            return "the model is not loaded yet"
        return "the worker stops" if self.stopping.is_set() else None
