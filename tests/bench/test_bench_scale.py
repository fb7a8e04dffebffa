"""The commands: what they plan, and what they say by their exit code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.scale.test_scale_report import results
from worker.bench.scale import knobs as scale_knobs
from worker.bench.scale import run as scale_run
from worker.commands.bench import scale as bench_scale
from worker.commands.bench import with_broker as bench_with_broker
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.scale.results import ScaleResults

OPTIONS: dict[str, Any] = {
    "deliveries": (), "replica_counts": (1, 2), "partition_counts": (8, 2), "count": 12_000, "phase_s": 8.0, "is_quick": False,
    "json_file": None, "plot_file": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_with_broker, "measured", lambda _console, run: asyncio.run(run(None)))


@pytest.mark.parametrize("is_quick", [True, False])
def test_quick_is_less_of_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_quick: bool) -> None:
    """The files are written all the same."""
    plans: list[scale_run.ScalePlan] = []

    async def noted(plan: scale_run.ScalePlan, _place: object) -> ScaleResults:
        plans.append(plan)
        return results()

    monkeypatch.setattr(scale_run, "run", noted)
    files = {"json_file": tmp_path / "scale.json", "plot_file": tmp_path / "scale.png"}
    assert bench_scale.bench_scale(**{**OPTIONS, **files, "is_quick": is_quick}) == 0
    expected = (1, (8,), ("kill",)) if is_quick else (2, (8, 2), ("join", "leave", "kill", "rolling"))
    assert (len(plans[0].deliveries), plans[0].partition_counts, plans[0].kinds) == expected
    assert all(it.stat().st_size for it in files.values())


@pytest.mark.parametrize(("lost", "repeated", "code"), [(1, 0, 1), (0, 1, 1), (0, 0, 0)])
def test_a_loss_is_an_exit_code_and_so_is_what_exactly_once_repeats(
    monkeypatch: pytest.MonkeyPatch, *, lost: int, repeated: int, code: int
) -> None:
    """At least once may repeat."""

    async def ran(_plan: scale_run.ScalePlan, _place: object) -> ScaleResults:
        return results(lost=lost, repeated=repeated)

    monkeypatch.setattr(scale_run, "run", ran)
    assert bench_scale.bench_scale(**OPTIONS) == code


def test_the_knobs_become_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For the documentation."""

    async def ran(_plan: scale_run.ScalePlan, _place: object, *, is_quick: bool) -> ScaleResults:
        assert is_quick
        return results()

    monkeypatch.setattr(scale_knobs, "run", ran)
    options: dict[str, Any] = {"count": 100, "phase_s": 2.0, "is_quick": True, "json_file": None}
    assert bench_scale.bench_knobs(delivery="at_least_once", table=tmp_path / "knobs.md", **options) == 0
    assert (tmp_path / "knobs.md").read_text().startswith("| what |")
    with pytest.raises(BadSettings, match="no delivery perhaps"):
        bench_scale.bench_knobs(delivery="perhaps", table=None, **options)


def test_an_unknown_delivery_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(BadSettings, match="no delivery perhaps"):
        bench_scale.bench_scale(**{**OPTIONS, "deliveries": ("perhaps",)})
