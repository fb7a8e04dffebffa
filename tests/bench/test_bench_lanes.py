"""The benchmark of the lanes: the command, and one small and real run of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.lanes.test_lanes_results import results
from worker.bench.lanes import run as lanes_run
from worker.commands.bench import lanes as bench_lanes
from worker.commands.bench import with_broker as bench_with_broker
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.lanes.results import LanesResults

OPTIONS: dict[str, Any] = {
    "percents": (25,), "max_backfill_batch_tokens": 512, "num_partitions": 2, "num_rounds": 1, "count": 400, "phase_s": 2.0,
    "json_file": None, "plot_file": None,
}  # fmt: skip


def test_a_load_that_leaves_nothing_is_refused() -> None:
    """In one line, with the bound."""
    with pytest.raises(BadSettings, match="--loads 25,95: at most 90"):
        bench_lanes.bench_lanes(**{**OPTIONS, "percents": (25, 95)})


@pytest.mark.parametrize("lost", [0, 1])
def test_a_loss_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, lost: int) -> None:
    """The files are written all the same."""
    plans: list[lanes_run.LanesPlan] = []

    async def ran(plan: lanes_run.LanesPlan, _place: object) -> LanesResults:
        plans.append(plan)
        found = results()
        found.lost = lost
        return found

    monkeypatch.setattr(lanes_run, "run", ran)
    monkeypatch.setattr(bench_with_broker, "measured", lambda _console, run: asyncio.run(run(None)))
    files = {"json_file": tmp_path / "lanes.json", "plot_file": tmp_path / "lanes.png"}
    assert bench_lanes.bench_lanes(**{**OPTIONS, **files}) == lost
    assert plans[0].shares == (0.25,)
    assert all(it.stat().st_size for it in files.values())
