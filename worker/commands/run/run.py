"""Run a worker: the composition root, and the life of the process.

The first SIGTERM, SIGINT or SIGHUP drains: what is in flight is published and committed, within the drain limit. The second leaves
at once; nothing is lost by that, only done again. Until the model is loaded there is nothing to drain: the first leaves at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import worker
from worker.commands.run.signals import DRAINING, heard, leave_at_once
from worker.commands.variables import find_warnings
from worker.composition import broker
from worker.composition import model as engines
from worker.composition import pipeline as pipelines
from worker.composition import tracing as traces
from worker.host import freeze_gc, keep_malloc_arenas, trim_malloc
from worker.observability.http import HttpServer, build_metrics_page, build_probe
from worker.observability.metrics import Telemetry, configure_logging
from worker.rollout.router import SingleModel

if TYPE_CHECKING:
    import signal
    from collections.abc import Coroutine

    from worker.observability.tracing import Tracing
    from worker.pipeline import Pipeline
    from worker.settings import Settings

# A poll loop that has not turned for so long is stuck; a rebalance may hold it as long as its own limit.
_STUCK_AFTER_S = 120.0
# How long the event loop may keep the interpreter from the model's thread, which asks for it between any two operations.
_SWITCH_INTERVAL_S = 0.0001


def run(settings: Settings, *, replica: int | None = None) -> None:
    """Run until told to stop; raises the `Stop` that ended the worker otherwise. One `replica` of several is named in its log."""
    configure_logging(level=settings.log_level, log_format=settings.log_format, replica=replica)
    if replica is None:
        # A replica that has not begun is ended by the signal itself, as the supervisor expects.
        leave_at_once(DRAINING)
    # Before the first thread: a thread keeps the heap that it began with.
    keep_malloc_arenas()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    tracing = traces.build_tracing()
    try:
        asyncio.run(_run(settings, tracing, replica))
    finally:
        if tracing is not None:
            tracing.stop()


async def _run(settings: Settings, tracing: Tracing | None, replica: int | None) -> None:
    telemetry = Telemetry()
    for warning in () if replica else find_warnings():
        telemetry.ineffective_setting(warning)
    engine = await asyncio.to_thread(engines.load_engine, settings)
    await asyncio.to_thread(trim_malloc)
    await asyncio.to_thread(engine.warm_up)
    tasks = engines.select_tasks(settings, engine)
    if settings.create_topics:
        await broker.create_topics(settings, tasks)
    rollout = await pipelines.build_rollout_router(settings, engine, telemetry, tracing)
    models, connection = rollout or SingleModel(traces.trace_model(engine, tracing)), broker.build_connection(settings)
    if rollout is None:
        telemetry.models([engine.name])
    telemetry.reads(settings.input_topics)
    pipeline, consumer = pipelines.build_pipeline(settings, tasks, models, connection, telemetry, tracing)
    _drain_on_signal(pipeline, telemetry)
    freeze_gc()
    async with _server(settings, pipeline, telemetry) as server:
        telemetry.started(
            version=worker.__version__,
            model=engine.name,
            device=engine.description,
            because=engine.because,
            threads=asdict(engines.build_thread_plan(settings)) | {"passes": engine.max_passes},
            tasks=sorted(tasks),
            http=server.address,
            input=settings.input_topics,
            group=settings.group_id,
            delivery=settings.delivery,
            pid=os.getpid(),
        )
        # A model may be let go: nobody else may hold it.
        del engine
        await (
            pipeline.run()
            if rollout is None
            else _run_until_first_ends(rollout.watch(lambda: consumer.lag().keys()), pipeline.run())
        )
    telemetry.info("stopped")


def _server(settings: Settings, pipeline: Pipeline, telemetry: Telemetry) -> HttpServer:
    """Return the HTTP server of the probes and the metrics, not yet listening."""
    return HttpServer(
        address=(settings.http_host, settings.http_port),
        metrics=build_metrics_page(telemetry.registry),
        is_live=build_probe(
            lambda: None if time.monotonic() - pipeline.last_poll_s < _STUCK_AFTER_S else "the poll loop does not turn"
        ),
        is_ready=build_probe(lambda: None if pipeline.is_ready else "not every partition that is ours takes records yet"),
    )


async def _run_until_first_ends(watching: Coroutine[None, None, None], flow: Coroutine[None, None, None]) -> None:
    """Run the flow to its end, and something beside it whose death ends the flow too."""
    beside, main = asyncio.create_task(watching), asyncio.create_task(flow)
    try:
        await asyncio.wait([beside, main], return_when=asyncio.FIRST_COMPLETED)
        if not main.done():
            beside.result()
        await main
    finally:
        beside.cancel()
        main.cancel()
        await asyncio.wait([beside, main])


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
    for number in heard(DRAINING):
        loop.add_signal_handler(number, on_signal, number)
