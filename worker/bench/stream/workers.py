"""Starts and stops the worker processes of a benchmark."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from worker.host import count_cores
from worker.testbed.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from worker.bench.frame.context import BenchContext
    from worker.bench.stream.phases import Topics


@contextlib.asynccontextmanager
async def run_workers(
    context: BenchContext,
    topic: Topics,
    settings: Mapping[str, object],
    *,
    num_workers: int,
    cores: Sequence[Sequence[int]] = (),
    instances: Sequence[str] = (),
    first: int = 0,
    program: Sequence[str] = ("worker", "run"),
) -> AsyncIterator[tuple[Sequence[WorkerProcess], float]]:
    """Start workers that share the cores, and yield them when all are ready, with the start-up time of the first in seconds.

    `settings` override the defaults of the benchmark. `cores` pins each worker; `instances` are names for static membership.
    Workers that join a running group are numbered from `first`. `program` is the module to run and its arguments. An exception
    kills the workers; otherwise they drain.
    """
    settings = _build_settings(context, topic, num_workers) | dict(settings)
    workers: list[WorkerProcess] = []
    started_s, is_good = time.monotonic(), False
    try:
        for number in range(num_workers):
            log = context.directory / f"worker-{topic.input}-{first + number}.log"
            name = {"client_id": f"worker-{first + number}"}
            name |= {"group_instance_id": instances[number]} if instances and instances[number] else {}
            workers.append(WorkerProcess(settings | name, log, cores=cores[number] if cores else (), program=program))
        await workers[0].wait_until_ready()
        start_s = time.monotonic() - started_s
        for worker in workers[1:]:
            await worker.wait_until_ready()
        yield workers, start_s
        is_good = True
    finally:
        for worker in workers:
            worker.stop() if is_good else worker.kill()


def _build_settings(context: BenchContext, topic: Topics, num_workers: int) -> dict[str, object]:
    return {
        **topic.settings,
        "bootstrap_servers": context.connection.bootstrap_servers,
        "group_id": topic.input,
        "tasks": "",
        "threads": count_threads(num_workers),
        **context.settings,
    }


def count_threads(num_workers: int) -> int:
    """Return the threads of each worker: two busy thread pools on one core slow each other down."""
    return max(1, count_cores() // num_workers)
