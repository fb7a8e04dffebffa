"""A small run of the backfill benchmark with a real broker and one worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.bench.stream.test_stream_run import build_context
from worker.bench.backfill.run import BackfillPlan, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.long, pytest.mark.timeout(400)]


async def test_a_load_is_offered_with_a_backfill_and_without(kafka: str, tmp_path: Path) -> None:
    """No live record is lost, the backfill makes progress, and no process remains."""
    plan = BackfillPlan(num_partitions=2, num_backlog=300, shares=(0.25,), num_rounds=1, phase_s=2.0, max_backfill_batch_tokens=256)
    found = await run(plan, build_context(kafka, tmp_path))
    assert found.lost == 0
    assert [turn.has_backfill for turn in found.turns] == [False, True]
    assert found.turns[0].backfill_per_s == 0 < found.turns[1].backfill_per_s
    assert found.ratio(0.25) > 0
    assert not [child for child in psutil.Process().children() if child.is_running() and "worker" in child.cmdline()]
