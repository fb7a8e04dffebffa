"""The benchmark of delivery itself, small and real: a Kafka, and a worker for each way."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.stream.test_stream_run import place
from worker.bench.delivery.results import DeliveryMode, DeliveryResults
from worker.bench.delivery.run import DeliveryPlan, build_modes, build_work, run

if TYPE_CHECKING:
    from pathlib import Path

PLAN = DeliveryPlan(
    main=DeliveryMode(2, 100), intervals_ms=(100,), partition_counts=(2,), num_rounds=1, num_backlog=300, phase_s=2.0
)


def test_the_whole_plan_measures_every_way_and_takes_turns() -> None:
    """The main way thrice, every other once, in this order."""
    plan = replace(PLAN, main=DeliveryMode(8, 100), intervals_ms=(10, 30, 100, 300), partition_counts=(1, 8), num_rounds=3)
    beside, main = DeliveryMode(8), DeliveryMode(8, 100)
    assert build_modes(plan) == [
        *(beside, main, beside, main, beside, main, beside),
        *(DeliveryMode(8, 10), DeliveryMode(8, 30), beside, DeliveryMode(8, 300), beside, DeliveryMode(1), DeliveryMode(1, 100)),
    ]


@given(
    st.lists(st.integers(1, 20), unique=True, max_size=6),
    st.lists(st.integers(1, 9), unique=True, max_size=6),
    st.integers(1, 4),
)
def test_whatever_is_measured_stands_beside_at_least_once(intervals: list[int], counts: list[int], num_rounds: int) -> None:
    """With as many partitions."""
    ways = build_modes(replace(PLAN, intervals_ms=tuple(intervals), partition_counts=tuple(counts), num_rounds=num_rounds))
    for number, way in enumerate(ways):
        if way.interval_ms is not None:
            assert DeliveryMode(way.num_partitions) in ways[max(0, number - 1) : number + 2]
    assert set(ways) >= {DeliveryMode(2, it) for it in intervals} | {DeliveryMode(it, 100) for it in counts}


def test_work_is_what_lies_between_two_readings() -> None:
    """Of the counters of all outputs, with a dead letter for three; of a broker elsewhere nothing is known."""
    publishing = 'gist_stage_duration_seconds_{}{{stage="publish"}}'
    before = {'gist_messages_published_total{output="labels"}': 3.0, publishing.format("count"): 1.0, publishing.format("sum"): 1.0}
    after = {
        **{f'gist_messages_published_total{{output="{it}"}}': 23.0 for it in ("labels", "entities", "embeddings")},
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
    """Tell whether no worker of ours is left."""
    return not [it for it in psutil.Process().children() if it.is_running() and "worker" in it.cmdline()]


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.timeout(300)
async def test_both_deliveries_are_measured_and_nothing_is_lost_or_left_running(kafka: str, tmp_path: Path) -> None:
    """A backlog and a load for each of three workers; what exactly once publishes comes in transactions of its interval."""
    found = await run(PLAN, place(kafka, tmp_path))
    summary = found.summary()
    assert [it.way for it in found.runs] == [DeliveryMode(2), DeliveryMode(2, 100), DeliveryMode(2)]
    assert (summary["lost"], summary["exactly_once_duplicated"]) == (0, 0)
    assert summary["exactly_once_ratio"] > 0
    assert summary["broker_cpu_ratio"] is None
    assert all(it.latency.p99_ms >= it.latency.p50_ms > 0 and it.load.worker_ms > 0 for it in found.runs)
    assert len({it.offered_per_s for it in found.runs}) == 1
    assert is_idle()


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.timeout(300)
async def test_no_run_begins_that_would_end_too_late(kafka: str, tmp_path: Path) -> None:
    """What is left out is said."""
    found: DeliveryResults = await run(replace(PLAN, limit_s=1e-3), place(kafka, tmp_path))
    assert [it.way for it in found.runs] == [DeliveryMode(2)]
    assert "left out, because the time was up: 2 partitions, exactly once, 100 ms; 2 partitions, at least once" in found.notes
    assert is_idle()
