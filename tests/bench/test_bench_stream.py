"""The command: what is asked wrongly is one line, and what is quick says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.stream.test_stream_report import results
from worker.bench.stream import run as stream_run
from worker.commands.bench import stream as bench_stream
from worker.commands.bench import with_broker as bench_with_broker
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.stream.results import StreamResults

OPTIONS: dict[str, Any] = {
    "deliveries": (), "worker_counts": (1,), "num_partitions": 8, "count": 20_000, "phase_s": 15.0, "is_quick": True,
    "json_file": None, "plot_file": None,
}  # fmt: skip


def test_an_unknown_delivery_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(BadSettings, match=r"no delivery perhaps; there is .*at_least_once"):
        bench_stream.bench_stream(**{**OPTIONS, "deliveries": ("perhaps",)})


def test_a_loss_is_an_exit_code_and_quick_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are written all the same."""

    async def ran(_plan: stream_run.StreamPlan, _place: object) -> StreamResults:
        return results()

    monkeypatch.setattr(stream_run, "run", ran)
    monkeypatch.setattr(bench_with_broker, "measured", lambda _console, run: asyncio.run(run(None)))
    files = {"json_file": tmp_path / "stream.json", "plot_file": tmp_path / "stream.png"}
    assert bench_stream.bench_stream(**{**OPTIONS, **files}) == 1
    assert "quick: a backlog of at most 4000 messages" in capsys.readouterr().out
    assert all(it.stat().st_size for it in files.values())
