"""The life of a worker: a signal drains it at any moment."""

from __future__ import annotations

from typing import Any

import pytest

from worker.commands.run.run import Health
from worker.errors import DrainIncomplete
from worker.observability.metrics import WorkerTelemetry


class _Pipeline:
    """Records whether it was drained."""

    is_drained = False

    def drain(self) -> None:
        """Note the drain."""
        self.is_drained = True


@pytest.mark.parametrize("is_stopping", [False, True])
async def test_a_signal_before_the_pipeline_drains_it(is_stopping: bool) -> None:  # noqa: FBT001  a parameter of pytest
    """A signal may come while the worker creates topics, when there is no pipeline to drain."""
    health, pipeline = Health(), _Pipeline()
    untyped: Any = pipeline
    if is_stopping:
        health.stopping.set()
    health.use(untyped)
    assert (health.pipeline is untyped, pipeline.is_drained) == (True, is_stopping)


def test_a_drain_above_its_limit_ends_the_worker_only_after_a_signal() -> None:
    """Other topics end a pipeline, too, and the next pipeline reads the records again."""
    health, telemetry, error = Health(), WorkerTelemetry(), DrainIncomplete("not all records were published")

    def drain() -> None:
        with health.survive_incomplete_drain(telemetry):
            raise error

    drain()
    health.stopping.set()
    with pytest.raises(DrainIncomplete):
        drain()
