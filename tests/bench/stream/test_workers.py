"""The workers of a benchmark: how many threads each gets, and that none outlives its work."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.bench.stream.test_stream_run import place
from worker.bench.stream import workers as stream_workers
from worker.bench.stream.phases import Topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Process:
    """Stands for a worker process, and notes what it was told and how it ended."""

    made: list[Process]

    def __init__(self, settings: Mapping[str, object], log: Path, *, cores: Sequence[int]) -> None:
        """Note the settings."""
        self.cores = cores
        self.settings, self.log, self.ends = settings, log, list[str]()
        self.made.append(self)

    async def ready(self) -> None:
        """Be ready at once."""

    def stop(self) -> None:
        """Note it."""
        self.ends.append("stopped")

    def kill(self) -> None:
        """Note it."""
        self.ends.append("killed")


@pytest.mark.parametrize("is_good", [True, False])
async def test_workers_end_with_their_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_good: bool) -> None:
    """In good order where the work was done, at once where it failed; each with its settings and a log of its own."""
    where = place("nowhere:1", tmp_path)
    monkeypatch.setattr(Process, "made", [], raising=False)
    monkeypatch.setattr(stream_workers, "WorkerProcess", Process)
    topic = Topics(where.connection, "bench", num_partitions=2)
    running = stream_workers.working(where, topic, {"transaction_interval_ms": 30}, num_workers=2)
    workers, start_s = await running.__aenter__()
    assert (len(workers), start_s >= 0) == (2, True)
    failure = None if is_good else LookupError("the work failed")
    with contextlib.suppress(LookupError):
        await running.__aexit__(type(failure) if failure else None, failure, None)
    assert [it.ends for it in Process.made] == [["stopped" if is_good else "killed"]] * 2
    assert {it.settings["transaction_interval_ms"] for it in Process.made} == {30}
    assert {it.settings["input_topic"] for it in Process.made} == {"bench"}
    assert len({it.log for it in Process.made}) == 2


async def test_workers_may_be_held_to_cores_and_keep_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that joins later has a log of its own; an empty name is none."""
    where = place("nowhere:1", tmp_path)
    monkeypatch.setattr(Process, "made", [], raising=False)
    monkeypatch.setattr(stream_workers, "WorkerProcess", Process)
    topic = Topics(where.connection, "bench", num_partitions=2)
    async with (
        stream_workers.working(where, topic, {}, num_workers=2, held=[[0], [3]], instances=["a", ""]),
        stream_workers.working(where, topic, {}, num_workers=1, first=2),
    ):
        assert [it.cores for it in Process.made] == [[0], [3], ()]
        assert [it.settings.get("group_instance_id") for it in Process.made] == ["a", None, None]
        assert len({it.log for it in Process.made}) == 3


def test_no_worker_is_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they have as many as there are cores."""
    monkeypatch.setattr(stream_workers, "num_cores", lambda: 4)
    assert [stream_workers.count_threads(it) for it in (1, 2, 3, 9)] == [4, 2, 1, 1]
