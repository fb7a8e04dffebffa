"""The workers of a benchmark: threads, settings, and their end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.bench.stream.test_stream_run import build_context
from worker.bench.stream import workers as stream_workers
from worker.bench.stream.phases import Topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Process:
    """A fake worker process with its settings and its end."""

    made: list[Process]

    def __init__(self, settings: Mapping[str, object], log: Path, *, cores: Sequence[int], program: Sequence[str]) -> None:
        self.cores, self.program = cores, program
        self.settings, self.log, self.ends = settings, log, list[str]()
        self.made.append(self)

    async def wait_until_ready(self) -> None:
        """Return at once."""

    def stop(self) -> None:
        """Note the drain."""
        self.ends.append("stopped")

    def kill(self) -> None:
        """Note the kill."""
        self.ends.append("killed")


@pytest.mark.parametrize("is_good", [True, False])
async def test_workers_end_with_their_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_good: bool) -> None:
    """Workers drain after success and are killed after a failure; each has a log of its own."""
    context = build_context("nowhere:1", tmp_path)
    monkeypatch.setattr(Process, "made", [], raising=False)
    monkeypatch.setattr(stream_workers, "WorkerProcess", Process)
    topic = Topics(context.connection, "bench", num_partitions=2)
    running = stream_workers.run_workers(context, topic, {"transaction_interval_ms": 30}, num_workers=2)
    workers, start_s = await running.__aenter__()
    assert (len(workers), start_s >= 0) == (2, True)
    failure = None if is_good else LookupError("the work failed")
    with contextlib.suppress(LookupError):
        await running.__aexit__(type(failure) if failure else None, failure, None)
    assert [process.ends for process in Process.made] == [["stopped" if is_good else "killed"]] * 2
    assert {process.settings["transaction_interval_ms"] for process in Process.made} == {30}
    assert {process.settings["input_topic"] for process in Process.made} == {"bench"}
    assert len({process.log for process in Process.made}) == 2


async def test_workers_can_be_pinned_and_static(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker that joins later has a log of its own; an empty name is no name."""
    context = build_context("nowhere:1", tmp_path)
    monkeypatch.setattr(Process, "made", [], raising=False)
    monkeypatch.setattr(stream_workers, "WorkerProcess", Process)
    topic = Topics(context.connection, "bench", num_partitions=2)
    async with (
        stream_workers.run_workers(context, topic, {}, num_workers=2, cores=[[0], [3]], instances=["a", ""]),
        stream_workers.run_workers(context, topic, {}, num_workers=1, first=2),
    ):
        assert [process.cores for process in Process.made] == [[0], [3], ()]
        assert [process.settings.get("group_instance_id") for process in Process.made] == ["a", None, None]
        assert len({process.log for process in Process.made}) == 3


def test_no_worker_is_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers together have as many threads as cores."""
    monkeypatch.setattr(stream_workers, "count_cores", lambda: 4)
    assert [stream_workers.count_threads(number) for number in (1, 2, 3, 9)] == [4, 2, 1, 1]
