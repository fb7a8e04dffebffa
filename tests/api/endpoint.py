"""An endpoint with a fake model, on a free port."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.fakes import FakeModel
from worker.api.queries import Queries
from worker.api.server import ApiServer, ServerOptions
from worker.api.service import Service
from worker.composition.input import build_limits
from worker.composition.pipeline import build_options, build_outcome_builder
from worker.flow.lanes import build_lanes
from worker.flow.model_executor import ModelExecutor
from worker.flow.monitor import Monitor
from worker.observability.api_metrics import ApiMetrics
from worker.observability.metrics import WorkerTelemetry
from worker.records import Task
from worker.rollout.router import SingleModel
from worker.settings import Settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Collection

    from worker.api.tokens import TokenFile
    from worker.ports import ModelRouter


class Gate:
    """Holds calls of a model in their threads until it opens."""

    def __init__(self) -> None:
        self.is_reached, self.is_open = threading.Event(), threading.Event()

    def wait(self, _entries: object) -> None:
        """Block until the gate is open."""
        self.is_reached.set()
        self.is_open.wait()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110  the condition depends on a thread
        await asyncio.sleep(0.001)


class Endpoint:
    """The parts of `gist-stream serve` around a fake model, and a client."""

    def __init__(
        self,
        *,
        models: ModelRouter | None = None,
        tokens: TokenFile | None = None,
        tls: ssl.SSLContext | None = None,
        cors: Collection[str] = (),
        timeout_s: float = 30.0,
        port: int = 0,
        is_shared: bool = False,
        **settings: Any,
    ) -> None:
        """Build with settings by name."""
        own = Settings(_env_file=None, **settings)  # type: ignore[call-arg]  # no file of this machine
        self.model = FakeModel()
        self.telemetry, self.bugs = WorkerTelemetry(), list[str]()
        models = models or SingleModel(self.model)
        options = build_options(own, frozenset(Task))
        lanes = build_lanes(options, max_passes=models.max_passes, num_encoders=models.num_encoders)
        executor = ModelExecutor.from_flow(models, lanes, options, note_cached=self.telemetry.cached)
        self.queries = Queries(models, lanes, executor, max_texts=own.api_max_queued_texts)
        self.lane = lanes.live
        self.service = Service(
            find_queries=lambda: self.queries,
            outcomes=build_outcome_builder(own, frozenset(Task), model_name="", warn=lambda _warning: None),
            tasks=frozenset(Task),
            limits=build_limits(own),
            max_texts=own.api_max_texts,
        )
        self.server = ApiServer(
            self.service,
            ServerOptions(
                host="127.0.0.1",
                port=port,
                is_shared=is_shared,
                tls=tls,
                tokens=tokens,
                cors_origins=cors,
                max_body_bytes=own.api_max_body_bytes,
                timeout_s=timeout_s,
                keepalive_s=timeout_s,
            ),
            metrics=ApiMetrics(self.telemetry.registry),
            trace=lambda _route, _headers: nullcontext(()),
            report_bug=lambda route, error: self.bugs.append(f"{route}: {error!r}"),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Listen, compute, and yield a client of the endpoint."""
        batches = asyncio.create_task(self.queries.serve(Monitor(self.telemetry)))
        try:
            async with self.server, aiohttp.ClientSession(self.server.address) as client:
                yield client
        finally:
            batches.cancel()
            await asyncio.wait([batches])

    def count(self, route: str, status: int) -> float:
        """Return the number of requests of a route with a status."""
        return self.telemetry.registry.get_sample_value("gist_api_requests_total", {"route": route, "status": str(status)}) or 0.0
