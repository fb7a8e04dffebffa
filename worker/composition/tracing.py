"""Builds tracing from the variables of OpenTelemetry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import worker
from worker.errors import BadSettings

if TYPE_CHECKING:
    from worker.observability.tracing import Tracing
    from worker.ports import ServedModel


# OpenTelemetry's variables for the address of the collector.
_COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def build_tracing() -> Tracing | None:
    """Return the tracing of models and deliveries; None if OpenTelemetry's variables name no collector."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(os.environ.get, _COLLECTOR_VARIABLES)):
        return None
    try:
        from worker.observability.tracing import Tracing, build_provider  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        raise BadSettings(
            f"{' or '.join(_COLLECTOR_VARIABLES)} is set, but OpenTelemetry is not installed: "
            "pip install 'gist-stream[tracing]', or set OTEL_SDK_DISABLED=true"
        ) from error
    return Tracing(build_provider(worker.__version__))


def trace_model(model: ServedModel, tracing: Tracing | None) -> ServedModel:
    """Return the model, with a span for each forward pass if tracing is on."""
    return tracing.model(model) if tracing else model
