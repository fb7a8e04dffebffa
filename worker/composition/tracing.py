"""Traces: the environment to spans around models and deliveries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import worker
from worker.errors import BadSettings

if TYPE_CHECKING:
    from worker.observability.tracing import Tracing
    from worker.ports import ServedModel


# OpenTelemetry's own: where traces go.
_COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def build_tracing() -> Tracing | None:
    """Return what puts spans around models and deliveries, where OpenTelemetry's variables name a collector; else None."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(os.environ.get, _COLLECTOR_VARIABLES)):
        return None
    try:
        from worker.observability.tracing import Tracing, exporting_provider  # noqa: PLC0415  an extra, and only who asks for traces pays for it
    except ImportError as error:
        raise BadSettings(
            f"traces are asked for ({' or '.join(_COLLECTOR_VARIABLES)}), but there is no OpenTelemetry: "
            "pip install 'gist-stream[tracing]', or set OTEL_SDK_DISABLED=true"
        ) from error
    return Tracing(exporting_provider(worker.__version__))


def trace_model(model: ServedModel, tracing: Tracing | None) -> ServedModel:
    """Return the model with a span around each forward pass, if traces are on."""
    return tracing.model(model) if tracing else model
