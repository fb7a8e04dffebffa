"""The log event of the chosen engine, at the start of a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from worker.commands.run.run import log_choice
from worker.model.backends.measurement import Measured
from worker.observability.metrics import WorkerTelemetry

SPEEDS = Measured("int16", {"float32": 100.04, "int16": 210.0}, {"int16": 0.99998})


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (SPEEDS, {"texts_per_s": {"float32": 100.0, "int16": 210.0}, "min_cosine_to_float32": {"int16": 0.99998}}),
        (None, {"because": "as asked"}),
    ],
)
def test_the_log_has_the_speed_of_every_candidate(measured: Measured | None, expected: dict[str, Any]) -> None:
    """An engine that was not chosen by speed has a reason instead."""
    backend = SimpleNamespace(description="int16 compiled (avx2)", measured=measured)
    with capture_logs() as events:
        engine: Any = SimpleNamespace(name="m@1", backend=backend, because="as asked")
        log_choice(engine, WorkerTelemetry())
    assert events == [
        {"event": "engine_chosen", "log_level": "info", "model": "m@1", "engine": "int16 compiled (avx2)", **expected}
    ]
