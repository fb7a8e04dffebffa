"""The modes of the delivery benchmark, and a small run with a real broker."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.stream.test_stream_run import build_context
from worker.bench.delivery.results import DeliveryMode, DeliveryResults
from worker.bench.delivery.run import DeliveryPlan, build_modes, build_work, run

if TYPE_CHECKING:
    from pathlib import Path

PLAN = DeliveryPlan(
    main=DeliveryMode(2, 100), intervals_ms=(100,), partition_counts=(2,), num_rounds=1, num_backlog=300, phase_s=2.0
)


def test_the_whole_plan_takes_turns() -> None:
    """The main mode runs three times, each other mode once."""
    plan = replace(PLAN, main=DeliveryMode(8, 100), intervals_ms=(10, 30, 100, 300), partition_counts=(1, 8), num_rounds=3)
    reference, main = DeliveryMode(8), DeliveryMode(8, 100)
    assert build_modes(plan) == [
        *(reference, main, reference, main, reference, main, reference),
        *(
            DeliveryMode(8, 10),
            DeliveryMode(8, 30),
            reference,
            DeliveryMode(8, 300),
            reference,
            DeliveryMode(1),
            DeliveryMode(1, 100),
        ),
    ]


@given(
    st.lists(st.integers(1, 20), unique=True, max_size=6),
    st.lists(st.integers(1, 9), unique=True, max_size=6),
    st.integers(1, 4),
)
def test_every_exactly_once_run_is_adjacent_to_at_least_once(intervals: list[int], counts: list[int], num_rounds: int) -> None:
    """The adjacent run has the same number of partitions."""
    modes = build_modes(replace(PLAN, intervals_ms=tuple(intervals), partition_counts=tuple(counts), num_rounds=num_rounds))
    for number, mode in enumerate(modes):
        if mode.interval_ms is not None:
            assert DeliveryMode(mode.num_partitions) in modes[max(0, number - 1) : number + 2]
    assert set(modes) >= {DeliveryMode(2, interval) for interval in intervals} | {DeliveryMode(count, 100) for count in counts}


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
    assert found.worker_ms == pytest.approx(2)
    assert found.per_publication == pytest.approx(23 / 4)
    assert found.publish_ms == pytest.approx(50)
    assert math.isnan(found.broker_ms)
    assert math.isnan(build_work({}, {}, worker_s=1.0, broker_s=1.0).worker_ms)


def is_idle() -> bool:
    """Return whether no worker process remains."""
    return not [child for child in psutil.Process().children() if child.is_running() and "worker" in child.cmdline()]


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.timeout(300)
async def test_both_deliveries_are_measured_and_lose_nothing(kafka: str, tmp_path: Path) -> None:
    """Three workers run one after the other, and no process remains."""
    found = await run(PLAN, build_context(kafka, tmp_path))
    summary = found.summary()
    assert [measured.mode for measured in found.runs] == [DeliveryMode(2), DeliveryMode(2, 100), DeliveryMode(2)]
    assert (summary["lost"], summary["exactly_once_duplicated"]) == (0, 0)
    assert summary["exactly_once_ratio"] > 0
    assert math.isnan(summary["broker_cpu_ratio"])
    assert all(measured.latency.p99_ms >= measured.latency.p50_ms > 0 and measured.load.worker_ms > 0 for measured in found.runs)
    assert len({measured.offered_per_s for measured in found.runs}) == 1
    assert is_idle()


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.timeout(300)
async def test_no_run_begins_after_the_time_limit(kafka: str, tmp_path: Path) -> None:
    """A note names the skipped modes."""
    found: DeliveryResults = await run(replace(PLAN, limit_s=1e-3), build_context(kafka, tmp_path))
    assert [measured.mode for measured in found.runs] == [DeliveryMode(2)]
    assert "skipped at the time limit: 2 partitions, exactly once, 100 ms; 2 partitions, at least once" in found.notes
    assert is_idle()
