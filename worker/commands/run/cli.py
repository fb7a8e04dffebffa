"""The parameters of `gist-stream run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.settings import Settings


def run(
    settings: Settings,
    *,
    replicas: Annotated[
        int, typer.Option(min=1, help="Number of worker processes. They share the cores and one HTTP port, and are restarted.")
    ] = 1,
) -> int | None:
    """Serve a model on a Kafka topic until a signal.

    The first SIGTERM, SIGINT or SIGHUP drains the worker: work in flight is published and committed. The second ends it at once;
    nothing is lost, and the next owner of the partitions repeats the work in flight.
    """
    if replicas > 1:
        # The supervisor loads no model, so it must not import one.
        from worker.commands.run import replicas as supervisor  # noqa: PLC0415

        return supervisor.run_replicas(settings, replicas)
    from worker.commands.run import process  # noqa: PLC0415  the same

    process.run(settings)
    return None
