"""The command: what it plans, and what it says by its exit code."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.delivery.test_delivery_results import results
from worker.bench.delivery import run as delivery_run
from worker.bench.delivery.results import DeliveryMode, DeliveryResults
from worker.commands.bench import delivery as bench_delivery
from worker.commands.bench import with_broker as bench_with_broker

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {
    "intervals_ms": (10, 100), "partition_counts": (1, 8), "num_rounds": 3, "count": 12_000, "phase_s": 6.0, "is_quick": False,
    "json_file": None, "plot_file": None,
}  # fmt: skip


@pytest.mark.parametrize("is_quick", [True, False])
def test_quick_is_less_of_everything_and_ends_in_time(monkeypatch: pytest.MonkeyPatch, *, is_quick: bool) -> None:
    """Without it everything is measured that was asked for, however long it takes."""
    plans: list[delivery_run.DeliveryPlan] = []

    async def noted(plan: delivery_run.DeliveryPlan, _place: object) -> DeliveryResults:
        plans.append(plan)
        return results()

    monkeypatch.setattr(delivery_run, "run", noted)
    monkeypatch.setattr(bench_with_broker, "measured", lambda _console, run: asyncio.run(run(None)))
    assert bench_delivery.bench_delivery(**{**OPTIONS, "is_quick": is_quick}) == 0
    assert plans[0].main == DeliveryMode(8, 100)
    expected = (4_000, 1, True) if is_quick else (12_000, 3, False)
    assert (plans[0].num_backlog, plans[0].num_rounds, plans[0].limit_s > 0) == expected


@pytest.mark.parametrize(
    ("lost", "way", "duplicated", "code"),
    [(1, DeliveryMode(8), 0, 1), (0, DeliveryMode(8, 100), 1, 1), (0, DeliveryMode(8), 1, 0), (0, DeliveryMode(8, 100), 0, 0)],
)
def test_a_loss_is_an_exit_code_and_so_is_what_exactly_once_repeats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, lost: int, way: DeliveryMode, duplicated: int, code: int
) -> None:
    """At least once may repeat; the files are written all the same."""
    found = results()
    found.runs[:] = [replace(it, lost=lost if number == 0 else 0, duplicated=0) for number, it in enumerate(found.runs)]
    found.runs.append(replace(found.runs[0], way=way, lost=0, duplicated=duplicated))
    monkeypatch.setattr(bench_with_broker, "measured", lambda _console, _run: found)
    files = {"json_file": tmp_path / "delivery.json", "plot_file": tmp_path / "delivery.png"}
    assert bench_delivery.bench_delivery(**{**OPTIONS, **files}) == code
    assert all(it.stat().st_size for it in files.values())
