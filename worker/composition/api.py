"""Builds the HTTP endpoint for queries from settings, and what computes its texts in a worker without a stream."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from worker.api.queries import Queries
from worker.api.server import ApiServer, ServerOptions, read_certificate
from worker.api.service import Service
from worker.api.tokens import TokenFile
from worker.composition.input import build_limits
from worker.composition.pipeline import build_options, build_outcome_builder
from worker.flow.lanes import build_lanes
from worker.flow.model_executor import ModelExecutor
from worker.observability.api_metrics import ApiMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.observability.metrics import WorkerTelemetry
    from worker.observability.tracing import Tracing
    from worker.ports import ModelRouter
    from worker.records import Task
    from worker.settings import Settings

_LOCAL = {"127.0.0.1", "::1", "localhost"}


def build_api_options(settings: Settings, warn: Callable[[str], None], *, is_shared: bool) -> ServerOptions:
    """Return address, access and bounds of the endpoint. Raises `BadSettings` for a file that cannot be used.

    `warn` gets a line about an endpoint that is open to all, and later about tokens that cannot be read again.
    """
    tokens = TokenFile(Path(file), warn) if (file := settings.api_tokens_file) else None
    if tokens is None and settings.api_host not in _LOCAL:
        warn(f"GIST_API_HOST: every client that reaches {settings.api_host} is accepted: set GIST_API_TOKENS_FILE")
    cert, key = settings.api_tls_cert_file, settings.api_tls_key_file
    return ServerOptions(
        host=settings.api_host,
        port=settings.api_port,
        is_shared=is_shared,
        tls=read_certificate(cert, key) if cert else None,
        tokens=tokens,
        cors_origins=frozenset(origin for part in settings.api_cors_origins.split(",") if (origin := part.strip())),
        max_body_bytes=settings.api_max_body_bytes,
        timeout_s=settings.api_timeout_ms / 1000,
    )


def describe_access(settings: Settings, warn: Callable[[str], None]) -> str:
    """Return a line about address and access of the endpoint. Raises `BadSettings` for a file that cannot be used."""
    options = build_api_options(settings, warn, is_shared=False)
    access = "for clients with a token" if options.tokens else "for all clients"
    return f"{'https' if options.tls else 'http'}://{options.host}:{options.port}, {access}"


def build_api(
    settings: Settings,
    options: ServerOptions,
    tasks: frozenset[Task],
    find_queries: Callable[[], Queries | None],
    telemetry: WorkerTelemetry,
    tracing: Tracing | None,
) -> ApiServer:
    """Return the server of the endpoint, not yet listening. `find_queries` returns those of the running pipeline."""
    metrics = ApiMetrics(telemetry.registry)
    metrics.count_texts(lambda: queries.num_texts if (queries := find_queries()) else 0)
    outcomes = build_outcome_builder(settings, tasks, model_name="", warn=lambda _warning: None)
    service = Service(
        find_queries=find_queries,
        outcomes=outcomes,
        tasks=tasks,
        limits=build_limits(settings),
        max_texts=settings.api_max_texts,
    )
    return ApiServer(
        service,
        options,
        metrics=metrics,
        trace=tracing.request if tracing else lambda _route, _headers: nullcontext(()),
        report_bug=telemetry.api_failed,
    )


def build_queries(settings: Settings, tasks: frozenset[Task], models: ModelRouter, telemetry: WorkerTelemetry) -> Queries:
    """Return the queries of a worker without a stream."""
    options = build_options(settings, tasks)
    lanes = build_lanes(options, max_passes=models.max_passes, num_encoders=models.num_encoders)
    executor = ModelExecutor.from_flow(models, lanes, options, note_cached=telemetry.cached)
    return Queries(models, lanes, executor, max_texts=settings.api_max_queued_texts)
