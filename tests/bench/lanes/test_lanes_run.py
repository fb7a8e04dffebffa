"""The benchmark of the lanes itself, small and real: a Kafka, and one worker on two topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.bench.stream.test_stream_run import place
from worker.bench.lanes.run import LanesPlan, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.long, pytest.mark.timeout(400)]


async def test_a_load_is_offered_with_a_backfill_and_without(kafka: str, tmp_path: Path) -> None:
    """Nothing is lost, the backfill gets on, and nothing is left running."""
    plan = LanesPlan(num_partitions=2, num_backlog=300, shares=(0.25,), num_rounds=1, phase_s=2.0, max_backfill_batch_tokens=256)
    found = await run(plan, place(kafka, tmp_path))
    assert found.lost == 0
    assert [it.has_backfill for it in found.turns] == [False, True]
    assert found.turns[0].backfill_per_s == 0 < found.turns[1].backfill_per_s
    assert found.ratio(0.25) > 0
    assert not [it for it in psutil.Process().children(recursive=True) if "worker" in it.cmdline() and "run" in it.cmdline()]
