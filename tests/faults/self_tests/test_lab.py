"""The laboratory itself: quiet scenarios, whose verdict is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.frames import Action, Kind
from tests.faults.lab.lab import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

pytestmark = pytest.mark.kafka


async def test_a_quiet_run_has_no_fault_and_no_violation(broker: Cluster, mode: Mode, seed: int) -> None:
    """Each record has its outputs once, a poisoned record has a dead letter, and the history has the totals."""
    async with Lab(mode=mode, seed=seed, cluster=broker, poison_every=50) as lab:
        await lab.worker("a").ready()
        lab.produce(3_000, rate=2_000)
        assert await lab.settled(60)
        totals = await lab.verify()
    assert (totals.records, totals.faults, totals.lost, totals.duplicated, totals.dead_letters) == (3_000, 0, 0, 0, 60)
    assert json.loads(lab.history.path.read_text().splitlines()[0])["seed"] == seed
    (told,) = lab.history.events("totals")
    assert told["found"] == []


async def test_an_unprocessed_record_is_reported(
    broker: Cluster, mode: Mode, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker every record is lost, and the error names the history file."""
    # These losses are no finding: they must not be added up with those of a run.
    monkeypatch.setenv("FAULTS_SUMMARY", str(tmp_path / "summary.jsonl"))
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        await lab.produce(10)
        assert not await lab.settled(1)
        with pytest.raises(
            AssertionError, match=r"lost: record 0 has 0 embeddings(.|\n)*lost: 10 in all(.|\n)*history: "
        ) as failure:
            await lab.verify()
    assert str(lab.history.path) in str(failure.value)


async def test_the_workers_go_through_the_proxies(proxied_broker: Cluster, mode: Mode, seed: int) -> None:
    """The proxy counts fetches, publications and joins, and the workers survive two network faults."""
    async with Lab(mode=mode, seed=seed, cluster=proxied_broker) as lab:
        await lab.worker("a").ready()
        proxy = lab.proxies[0]
        lab.produce(2_000, rate=1_000)
        await lab.arrived(600)
        join = Kind.JOIN_GROUP if lab.protocol == "classic" else Kind.CONSUMER_GROUP_HEARTBEAT
        assert min(proxy.num_requests[kind] for kind in (Kind.FETCH, Kind.PRODUCE, join)) > 0
        proxy.drop_connections()
        rule = proxy.arm(Kind.PRODUCE, Action.DROP_ANSWER)
        assert await lab.settled(60)
        totals = await lab.verify()
    assert rule.num_applied == 1
    assert totals.faults == 2


async def test_duplicates_are_found_where_a_worker_makes_them(
    broker: Cluster, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An at-least-once worker that dies before its commit fails the exactly-once verdict."""
    monkeypatch.setenv("FAULTS_SUMMARY", str(tmp_path / "summary.jsonl"))
    async with Lab(mode="exactly_once", seed=seed, cluster=broker) as lab:
        # Each session commits the offset at which its partition begins; the next commit is the first of processed records.
        first = lab.workload.num_partitions + 1
        worker = lab.worker("a", delivery="at_least_once", fault_kill=f"before:OffsetCommit:{first}")
        lab.produce(500)
        await lab.until(lambda: not worker.is_running)
        worker.launch()
        assert await lab.settled(60)
        with pytest.raises(AssertionError, match=r"duplicated: \w+ of record \d+ came again"):
            await lab.verify()
    assert json.loads((tmp_path / "summary.jsonl").read_text())["duplicated"] > 0
