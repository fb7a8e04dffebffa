"""Notices weights that are overwritten under a running worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.observability.metrics import WorkerTelemetry

_INTERVAL_S = 60.0


async def watch_weights(telemetry: WorkerTelemetry, *, interval_s: float = _INTERVAL_S) -> None:
    """Log each file of weights that is written in place."""
    from worker.model.checkpoint.mapped_tensors import take_overwritten  # noqa: PLC0415  imported with the model

    while True:
        await asyncio.sleep(interval_s)
        for file in await asyncio.to_thread(take_overwritten):
            telemetry.weights_changed(str(file))
