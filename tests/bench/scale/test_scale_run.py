"""The sweep over settings, and a small run with a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.bench.stream.test_stream_run import build_context
from worker.bench.scale import run as scale
from worker.settings import read

if TYPE_CHECKING:
    from pathlib import Path

PLAN = scale.ScalePlan(
    deliveries=("exactly_once",),
    replica_counts=(1,),
    partition_counts=(2,),
    num_backlog=200,
    phase_s=2.0,
    kinds=("leave",),
    change_s=4.0,
)


def test_a_sweep_changes_one_setting_at_a_time() -> None:
    """The defaults run first and last, and commas join settings."""
    modes = scale.build_sweep(
        ["partitions=32", "replicas=2", "max_in_flight_tokens=8192,resume_in_flight_tokens=4096"], "exactly_once"
    )
    assert [mode.name for mode in modes][:: len(modes) - 1] == ["defaults", "defaults again"]
    assert (modes[1].num_partitions, modes[1].settings, modes[2].num_replicas) == (32, {}, 2)
    assert read(dict(modes[3].settings)).max_in_flight_tokens == 8192
    assert {mode.delivery for mode in modes} == {"exactly_once"}


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_run_measures_points_and_changes_and_loses_nothing(kafka: str, tmp_path: Path) -> None:
    """One pinned replica, then one of two replicas that leaves under load; no process remains."""
    found = await scale.run(PLAN, build_context(kafka, tmp_path))
    assert (found.lost, found.repeated_exactly_once) == (0, 0)
    assert found.points[0].messages_per_s > 0
    assert found.points[0].idle_mib > 0
    assert [change.kind for change in found.changes] == ["leave"]
    assert found.changes[0].pause_s > 0
    assert not [child for child in psutil.Process().children() if child.is_running() and "worker" in child.cmdline()]
