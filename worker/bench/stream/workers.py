"""Where a stream is measured, and the workers that do its work: processes of their own, started and ended here."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.host import count_cores
from worker.testbed.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from worker.bench.stream.phases import Topics
    from worker.broker.connection.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it is measured, and with what."""

    connection: Connection
    #: The broker's process; None where it runs elsewhere.
    broker_pid: int | None
    #: For logs and for what the contestants read.
    directory: Path
    texts: Sequence[str]
    #: What `Engine.load` takes, without the threads.
    engine: Mapping[str, Any]
    #: The same in the worker's own settings.
    worker: Mapping[str, Any]
    max_batch_tokens: int
    max_batch_records: int
    max_batch_delay_ms: float
    say: Callable[[str], None]


@contextlib.asynccontextmanager
async def working(
    place: Place,
    topic: Topics,
    told: Mapping[str, object],
    *,
    num_workers: int,
    held: Sequence[Sequence[int]] = (),
    instances: Sequence[str] = (),
    first: int = 0,
) -> AsyncIterator[tuple[Sequence[WorkerProcess], float]]:
    """Start workers that share the cores, with these settings beside the usual ones.

    They are given once all are ready, with the seconds that the first took. Each may be held to some cores, and may have a name in
    the group that a restart keeps. Those that join others of the same topic are counted from `first`.
    """
    settings = _settings(place, topic, num_workers) | dict(told)
    workers: list[WorkerProcess] = []
    began_s, is_good = time.monotonic(), False
    try:
        for number in range(num_workers):
            log = place.directory / f"worker-{topic.input}-{first + number}.log"
            named = {"group_instance_id": instances[number]} if instances and instances[number] else {}
            workers.append(WorkerProcess(settings | named, log, cores=held[number] if held else ()))
        await workers[0].ready()
        start_s = time.monotonic() - began_s
        for worker in workers[1:]:
            await worker.ready()
        yield workers, start_s
        is_good = True
    finally:
        for worker in workers:
            worker.stop() if is_good else worker.kill()


def _settings(place: Place, topic: Topics, num_workers: int) -> dict[str, object]:
    """Return the usual ones."""
    return {
        **topic.settings,
        "bootstrap_servers": place.connection.bootstrap_servers,
        "group_id": topic.input,
        "tasks": "",
        "threads": count_threads(num_workers),
        "max_batch_tokens": place.max_batch_tokens,
        "max_batch_records": place.max_batch_records,
        "max_batch_delay_ms": place.max_batch_delay_ms,
        **place.worker,
    }


def count_threads(num_workers: int) -> int:
    """Return how many threads each of some workers on this machine gets: two busy pools on one core slow each other down."""
    return max(1, count_cores() // num_workers)
