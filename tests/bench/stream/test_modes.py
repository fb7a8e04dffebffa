"""Modes: the work of a record, and a small run of each benchmark that is made of modes, with a real broker."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tests.bench.stream.test_stream_run import build_context, find_workers
from worker.bench.backfill.report import build_report as report_backfill
from worker.bench.backfill.run import BackfillPlan
from worker.bench.backfill.run import run as run_backfill
from worker.bench.delivery.report import build_report as report_delivery
from worker.bench.delivery.run import build_mode
from worker.bench.scale.report import build_report as report_scale
from worker.bench.scale.run import ScalePlan
from worker.bench.scale.run import run as run_scale
from worker.bench.stream.modes import ModePlan, build_work, measure_modes

if TYPE_CHECKING:
    from pathlib import Path


def test_work_is_the_difference_of_two_readings() -> None:
    """A dead letter counts as three outputs; the time of a broker elsewhere is NaN."""
    publishing = 'gist_stage_duration_seconds_{}{{stage="publish"}}'
    before = {'gist_messages_published_total{output="labels"}': 3.0, publishing.format("count"): 1.0, publishing.format("sum"): 1.0}
    after = {
        **{f'gist_messages_published_total{{output="{name}"}}': 23.0 for name in ("labels", "entities", "embeddings")},
        'gist_messages_published_total{output="dlq"}': 1.0,
        publishing.format("count"): 5.0,
        publishing.format("sum"): 1.2,
    }
    found = build_work(before, after, worker_s=0.046, broker_s=math.nan)
    assert {name: found[name] for name in ("worker_ms", "per_publication", "publish_ms")} == {
        "worker_ms": pytest.approx(2), "per_publication": pytest.approx(23 / 4), "publish_ms": pytest.approx(50)
    }  # fmt: skip
    assert math.isnan(found["broker_ms"])
    assert math.isnan(build_work({}, {}, worker_s=1.0, broker_s=1.0)["worker_ms"])


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.timeout(300)
async def test_modes_run_until_the_time_limit(kafka: str, tmp_path: Path) -> None:
    """Nothing is lost, a note names the skipped modes, and no process remains."""
    plan = ModePlan(num_backlog=300, phase_s=2.0, is_read=True, is_load_fixed=True, limit_s=1e-3)
    modes = [build_mode(2, 100), build_mode(2)]
    found = await measure_modes(plan, build_context(kafka, tmp_path), modes, name="bench-modes")
    assert found.modes == modes[:1]
    assert "skipped at the time limit: 2 partitions, at least once" in found.notes
    figures = found.runs.runs[0].figures
    assert (figures["lost"], figures["repeated"]) == (0, 0)
    assert figures["p99_ms"] >= figures["p50_ms"] > 0
    assert all(figures[name] > 0 for name in ("records_per_s", "worker_ms", "backlog_worker_ms", "peak_mib", "idle_mib"))
    assert report_delivery(found).is_good
    assert not find_workers()


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_change_of_the_group_loses_nothing(kafka: str, tmp_path: Path) -> None:
    """One pinned replica, then a third replica that leaves under load, with each protocol; no process remains."""
    plan = ScalePlan(
        deliveries=("exactly_once",), replica_counts=(1,), partition_counts=(3,), kinds=("leave",), passes_s=(0.1,), step_s=2.0,
        work=ModePlan(num_backlog=200, phase_s=2.0),
    )  # fmt: skip
    found = await run_scale(plan, build_context(kafka, tmp_path))
    assert report_scale(found).is_good
    assert found.changes.names == [
        f"leave, passes of 0.1 s, {protocol} protocol, exactly once" for protocol in ("classic", "consumer")
    ]
    assert all(found.changes.median(name, "p50_ms") > 0 for name in found.changes.names)
    assert not find_workers()


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_load_is_offered_with_a_backfill_and_without(kafka: str, tmp_path: Path) -> None:
    """No live record is lost, the backfill makes progress, and no process remains."""
    plan = BackfillPlan(num_partitions=2, num_backlog=300, shares=(0.25,), num_rounds=1, phase_s=2.0, max_backfill_batch_tokens=256)
    found = await run_backfill(plan, build_context(kafka, tmp_path))
    report = report_backfill(found)
    assert report.is_good
    assert found.turns.names == ["25% live", "25% live, with backfill"]
    assert found.turns.median("25% live, with backfill", "backfill_per_s") > 0
    assert report.summary["p99_ratio"]["25%"] > 0
    assert not find_workers()
