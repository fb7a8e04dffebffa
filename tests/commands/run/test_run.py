"""The pipelines of a worker, one after the other."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from worker.commands.run import run
from worker.commands.run.run import Health
from worker.composition.input_topics import TopicFinder
from worker.observability.metrics import WorkerTelemetry
from worker.settings import read

if TYPE_CHECKING:
    import pytest


class Pipeline:
    """Ends at once, with a reference to itself, as the tasks of a pipeline have."""

    is_ready = True

    def __init__(self, stop: Any) -> None:
        self.itself, self._stop = self, stop

    async def run(self) -> None:
        """Tell that the pipeline runs."""
        self._stop()


async def test_a_pipeline_that_ended_leaves_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose input topics change again and again keeps one pipeline only."""
    monkeypatch.setattr(run, "freeze_gc", gc.freeze)
    settings, telemetry, health, pipelines = read({}), WorkerTelemetry(), Health(), list[Any]()

    def build(*_arguments: object, **_options: object) -> tuple[Pipeline, Any]:
        def stop() -> None:
            if len(pipelines) > 1:
                health.stopping.set()

        pipeline = Pipeline(stop)
        pipelines.append(weakref.ref(pipeline))
        return pipeline, SimpleNamespace(lag=dict)

    finder = TopicFinder(settings=settings, tasks=frozenset(), warn=telemetry.ineffective_setting)
    try:
        await run._serve(finder, settings, build, None, health, telemetry)  # type: ignore[arg-type]  # a fake
        health.pipeline = None
        gc.collect()
        assert [pipeline() for pipeline in pipelines] == [None, None]
    finally:
        gc.unfreeze()
