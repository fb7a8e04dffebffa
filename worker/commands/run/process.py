"""Prepare the process of a worker, and load its model while the modules of the flow are imported."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.commands.run.signals import DRAINING, leave_at_once
from worker.composition.model import ModelLoader
from worker.composition.tracing import build_tracing
from worker.host import keep_malloc_arenas
from worker.observability.log_setup import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.observability.tracing import Tracing
    from worker.settings import Settings


def run(settings: Settings, *, replica: int | None = None) -> None:
    """Run until a signal; raises the `FatalError` that ended the worker otherwise. The log names a `replica` of several."""
    with prepare_process(settings, replica=replica) as tracing:
        loader = ModelLoader(settings, tracing)
        loader.begin(settings.model)
        from worker.commands.run.run import run_flow  # noqa: PLC0415  imported while the model is read

        asyncio.run(run_flow(settings, loader, tracing, replica=replica))


@contextmanager
def prepare_process(settings: Settings, *, replica: int | None = None) -> Iterator[Tracing | None]:
    """Prepare log, signals and memory of the process; stop the tracing, which is provided, at the end."""
    configure_logging(level=settings.log_level, log_format=settings.log_format, replica=replica)
    if replica is None:
        # The default action of the signal ends a replica that has not begun, as the supervisor expects.
        leave_at_once(DRAINING)
    # Before the first thread starts, because a thread keeps its first heap.
    keep_malloc_arenas()
    tracing = build_tracing()
    try:
        yield tracing
    finally:
        if tracing is not None:
            tracing.stop()
