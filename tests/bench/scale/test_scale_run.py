"""The benchmark itself, small and real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.bench.stream.test_stream_run import place
from worker.bench.scale import run as scale

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.long, pytest.mark.timeout(400)]
PLAN = scale.ScalePlan(
    deliveries=("exactly_once",),
    replica_counts=(1,),
    partition_counts=(2,),
    num_backlog=200,
    phase_s=2.0,
    kinds=("leave",),
    disturbed_s=4.0,
)


async def test_everything_is_measured_and_nothing_is_lost_or_left_running(kafka: str, tmp_path: Path) -> None:
    """A replica on a core of its own, then one of two that leaves under load."""
    found = await scale.run(PLAN, place(kafka, tmp_path))
    assert (found.lost, found.repeated_exactly_once) == (0, 0)
    assert found.points[0].messages_per_s > 0
    assert found.points[0].idle_mib > 0
    assert [it.kind for it in found.disturbances] == ["leave"]
    assert found.disturbances[0].pause_s > 0
    assert not [it for it in psutil.Process().children() if it.is_running() and "worker" in it.cmdline()]
