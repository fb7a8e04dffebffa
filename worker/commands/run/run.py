"""The life of a worker process.

The first SIGTERM, SIGINT or SIGHUP drains: work in flight is published and committed, within the drain timeout. The second ends the
process at once: nothing is lost, and the next owner repeats the work. While the model loads, the first signal ends the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import worker
from worker.commands.run.flow_imports import import_flow
from worker.commands.run.signals import DRAINING, heard
from worker.commands.run.topic_watch import watch_topics
from worker.commands.variables import find_warnings
from worker.composition import broker, registry
from worker.composition import model as engines
from worker.composition.input_topics import TopicFinder
from worker.errors import DrainIncomplete
from worker.host import freeze_gc, trim_malloc
from worker.observability.http import HttpServer, build_metrics_page, build_probe
from worker.observability.metrics import WorkerTelemetry
from worker.rollout.router import SingleModel

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence

    from worker.api.queries import Queries
    from worker.broker.consumer.consumer import Consumer
    from worker.composition.model import LoadedModel, ModelLoader
    from worker.model.engine import Engine
    from worker.observability.tracing import Tracing
    from worker.pipeline import Pipeline
    from worker.records import Partition, Task
    from worker.registry.store import SchemaStore
    from worker.rollout.router import RolloutRouter
    from worker.settings import Settings

# A poll loop without a poll for this time is stuck, in seconds. A rebalance may take as long as its own limit.
_STUCK_AFTER_S = 120.0
# The time after which a thread may take the interpreter from the event loop: the thread of the model needs it between operations.
_SWITCH_INTERVAL_S = 0.0001
_PROGRESS_INTERVAL_S, _READY_INTERVAL_S = 0.5, 0.02


async def run_flow(settings: Settings, loader: ModelLoader, tracing: Tracing | None, *, replica: int | None) -> None:
    """Run until a signal, with the model that `loader` has begun to load; raises the `FatalError` that ended the worker."""
    telemetry, health = WorkerTelemetry(), Health()
    for warning in () if replica else find_warnings():
        telemetry.ineffective_setting(warning)
    if settings.api:
        from worker.composition import api as apis  # noqa: PLC0415  imports a web framework, a sixth of the start

    access = apis.build_api_options(settings, telemetry.api_warning, is_shared=replica is not None) if settings.api else None
    async with build_server(settings, health, telemetry) as server, AsyncExitStack() as opened:
        telemetry.info("loading", model=settings.model, http=server.address)
        loading = load_model(loader.finish(), health, telemetry)
        loaded, _ = await asyncio.gather(loading, asyncio.to_thread(import_flow, settings.delivery))
        from worker.composition import pipeline as pipelines  # noqa: PLC0415  imported while the model was read

        tasks = engines.select_tasks(settings, loaded.model)
        rollout = await pipelines.build_rollout_router(settings, loaded.model, loader, telemetry)
        models, connection = rollout or SingleModel(loaded.model), broker.build_connection(settings)
        if rollout is None:
            telemetry.models(engine.name for engine in loaded.engines)
        finder = TopicFinder(settings=settings, tasks=tasks, warn=telemetry.ineffective_setting)
        served = await finder.find()
        _log_start(served, loaded, tasks, server.address, telemetry)
        # A rollout unloads models: no variable here may keep one.
        del loaded
        drain_on_signal(health, telemetry)
        if access is not None:
            api = apis.build_api(settings, access, tasks, health.find_queries, telemetry, tracing)
            telemetry.info("api_listening", api=(await opened.enter_async_context(api)).address)
        health.schemas = registry.build_store(settings, note_retry=partial(telemetry.retry, "decode"))
        if health.schemas is not None:
            opened.push_async_callback(health.schemas.stop)
        build = partial(pipelines.build_pipeline, models=models, connection=connection, telemetry=telemetry, tracing=tracing)
        await _serve(finder, served, build, rollout, health, telemetry)
    telemetry.info("stopped")


async def load_model(loading: Awaitable[LoadedModel], health: Health, telemetry: WorkerTelemetry) -> LoadedModel:
    """Return the model after its first forward passes."""
    loaded = await loading
    health.model = loaded.abilities
    for warning in (warning for engine in loaded.engines for warning in engine.warnings):
        telemetry.model_warning(warning)
    await asyncio.to_thread(trim_malloc)
    await asyncio.to_thread(loaded.model.warm_up)
    # Not before: two threads that import would take the interpreter from each other all the time.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    return loaded


async def _serve(
    finder: TopicFinder,
    served: Settings,
    build: Callable[..., tuple[Pipeline, Consumer]],
    rollout: RolloutRouter | None,
    health: Health,
    telemetry: WorkerTelemetry,
) -> None:
    """Run pipelines until a signal: a new one whenever the input topics change."""
    tasks = finder.tasks
    # Before the first pipeline: a frozen pipeline would remain in memory after its end.
    freeze_gc()
    while not health.stopping.is_set():
        if served.create_topics:
            await broker.create_topics(served, tasks)
        telemetry.reads(served.input_topics)
        serialize = await registry.prepare_results(served, health.schemas, tasks, health.stopping)
        if serialize is None:
            return
        pipeline, consumer = build(served, tasks, schemas=health.schemas, serialize=serialize, new_topics=finder.new)
        health.use(pipeline)
        watching = [_log_progress(pipeline, consumer, telemetry)]
        if rollout is not None:
            watching.append(rollout.watch(partial(_list_partitions, consumer)))
        if served.input_topic_pattern:
            watching.append(watch_topics(finder, served, pipeline, telemetry))
        with health.survive_incomplete_drain(telemetry):
            await _run_until_first_ends(watching, pipeline.run())
        if not health.stopping.is_set():
            served = await finder.find(served)


def _list_partitions(consumer: Consumer) -> Collection[Partition]:
    return consumer.lag().keys()


def log_choice(engine: Engine, telemetry: WorkerTelemetry) -> None:
    """Log what computes and, where the arithmetic was chosen by speed, the texts per second of every candidate."""
    measured = engine.backend.measured
    speeds = {name: round(rate, 1) for name, rate in measured.texts_per_s.items()} if measured else {}
    cosines = {name: round(cosine, 6) for name, cosine in measured.cosines.items()} if measured else {}
    chosen = {"texts_per_s": speeds, "min_cosine_to_float32": cosines} if measured else {"because": engine.because}
    telemetry.info("engine_chosen", model=engine.name, engine=engine.backend.description, **chosen)


def _log_start(settings: Settings, loaded: LoadedModel, tasks: Collection[Task], address: str, telemetry: WorkerTelemetry) -> None:
    for engine in loaded.engines:
        log_choice(engine, telemetry)
    telemetry.started(
        version=worker.__version__,
        model=loaded.model.name,
        device=loaded.description,
        because=", ".join(dict.fromkeys(engine.because for engine in loaded.engines)),
        threads=asdict(engines.build_thread_plan(settings)) | {"passes": loaded.model.max_passes},
        tasks=sorted(tasks),
        http=address,
        input=settings.input_topics,
        group=settings.group_id,
        delivery=settings.delivery,
        pid=os.getpid(),
    )


async def _log_progress(pipeline: Pipeline, consumer: Consumer, telemetry: WorkerTelemetry) -> None:
    """Log once that the worker is ready, and a summary from time to time."""
    is_logged = False
    while True:
        if pipeline.is_ready and not is_logged:
            is_logged = True
            telemetry.info("ready", partitions=len(consumer.lag()))
        telemetry.progress(time.monotonic())
        await asyncio.sleep(_PROGRESS_INTERVAL_S if is_logged else _READY_INTERVAL_S)


@dataclass(slots=True)
class Health:
    """The answers of the probes, from the first moment of the process."""

    #: None until the model is loaded.
    pipeline: Pipeline | None = None
    #: The schemas of the registry; None without one.
    schemas: SchemaStore | None = None
    #: The model at the start, in a line.
    model: str = ""
    #: Set when a signal ends the worker.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def use(self, pipeline: Pipeline) -> None:
        """Answer for a new pipeline. Drain the pipeline if a signal came before, as during a request to the brokers."""
        self.pipeline = pipeline
        if self.stopping.is_set():
            pipeline.drain()

    def find_queries(self) -> Queries | None:
        """Return the queries of the running pipeline; None before the first pipeline."""
        return None if self.pipeline is None else self.pipeline.queries

    @contextmanager
    def survive_incomplete_drain(self, telemetry: WorkerTelemetry) -> Iterator[None]:
        """Log a drain above its limit, because the next pipeline reads the records again; after a signal raise the error."""
        try:
            yield
        except DrainIncomplete as error:
            if self.stopping.is_set():
                raise
            telemetry.retry("consume", error)

    def describe_stall(self) -> str | None:
        """Return the reason if the worker is not live; a worker that loads its model is."""
        is_live = self.pipeline is None or time.monotonic() - self.pipeline.last_poll_s < _STUCK_AFTER_S
        return None if is_live else "the poll loop is stuck"

    def describe_wait(self) -> str | None:
        """Return the reason if the worker is not ready."""
        if self.schemas is not None and (problem := self.schemas.problem):
            return f"the schema registry: {problem}"
        if self.pipeline is None:
            return "the model is not loaded yet"
        return None if self.pipeline.is_ready else "not every assigned partition is read yet"


def build_server(settings: Settings, health: Health, telemetry: WorkerTelemetry) -> HttpServer:
    """Return the HTTP server of probes and metrics, not yet listening."""
    return HttpServer(
        address=(settings.http_host, settings.http_port),
        metrics=build_metrics_page(telemetry.registry),
        is_live=build_probe(health.describe_stall),
        is_ready=build_probe(health.describe_wait),
        describe=lambda: health.model,
    )


async def _run_until_first_ends(watching: Sequence[Coroutine[None, None, None]], flow: Coroutine[None, None, None]) -> None:
    """Run the flow to its end, and others with it, whose error ends the flow, too."""
    main, *others = tasks = [asyncio.create_task(step) for step in (flow, *watching)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not main.done():
            for task in others:
                if task.done():
                    task.result()
        await main
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def drain_on_signal(health: Health, telemetry: WorkerTelemetry) -> None:
    """Drain the pipeline on the first signal, and end the process on the second."""
    num_signals = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal num_signals
        num_signals += 1
        if num_signals > 1:
            telemetry.info("left", signal=number.name)
            # Threads may be in a forward pass, which nothing else ends.
            os._exit(128 + number)
        telemetry.info("draining", signal=number.name)
        health.stopping.set()
        if health.pipeline is not None:
            health.pipeline.drain()

    loop = asyncio.get_running_loop()
    for number in heard(DRAINING):
        loop.add_signal_handler(number, on_signal, number)
