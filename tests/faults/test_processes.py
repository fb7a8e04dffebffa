"""Workers that die, freeze, come and go: nothing is lost, and what comes twice is what the mode allows."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.lab import SCALE, Lab
from tests.faults.lab.scenarios import freeze_under_load, kill_under_load

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode
    from tests.faults.lab.workers import LabWorker

pytestmark = pytest.mark.kafka

# From records that a fetch task that hangs does not fetch to new results, in seconds.
_MAX_HANG_S = 30.0
# Where a worker dies: the moments between which what is published and what is committed could come apart.
POINTS: dict[Mode, tuple[str, ...]] = {
    "at_least_once": ("after:Produce", "before:OffsetCommit", "after:OffsetCommit"),
    "exactly_once": (
        "after:InitProducerId",
        "after:AddPartitionsToTxn",
        "after:Produce",
        "after:AddOffsetsToTxn",
        "before:TxnOffsetCommit",
        "after:TxnOffsetCommit",
        "before:EndTxn",
        "after:EndTxn",
    ),
}


async def test_a_worker_is_killed_again_and_again(broker: Cluster, mode: Mode, seed: int) -> None:
    """Under load one of three workers is killed ten times, each time at a random moment, and restarted."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        await kill_under_load(lab, "abc", num_kills=10)


@pytest.mark.faults
async def test_a_worker_dies_at_every_named_point(broker: Cluster, mode: Mode, seed: int) -> None:
    """A worker is killed before and after each request between publishing and committing; its successor completes the work."""
    points = POINTS[mode]
    async with Lab(mode=mode, seed=seed, cluster=broker, poison_every=100) as lab:
        # With a name that a restart keeps, the successor has the partitions, and the survivor is not asked.
        survivor = lab.worker("survivor", group_instance_id="survivor")
        await survivor.ready()
        mortal = lab.worker("mortal", group_instance_id="mortal", fault_kill=_point(lab, points[0]))
        # With the consumer protocol the name of a killed worker is free only after its session.
        async for number in lab.rounds(len(points) * (1 if lab.protocol == "consumer" else 3)):
            await lab.under_load_until(lambda: not mortal.is_running)
            assert await mortal.exited(0) == -signal.SIGKILL
            lab.fault("killed_at", point=mortal.environment["FAULT_KILL"])
            if number % 8 == 7:
                # The survivor takes over before its successor comes.
                await lab.moved()
            mortal.launch(FAULT_KILL=_point(lab, points[(number + 1) % len(points)]))
        lab.healed()
        await lab.settled(120)
        await lab.verify()


def _point(lab: Lab, point: str) -> str:
    # A process asks for a producer's identity once for each partition; everything else it does again and again.
    return f"{point}:{lab.random.randrange(1, 3 if point.endswith('InitProducerId') else 15 * SCALE)}"


async def test_a_zombie_wakes(broker: Cluster, mode: Mode, seed: int) -> None:
    """A worker is frozen beyond its session timeout, another worker takes over, and the first resumes with its old assignment."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        await freeze_under_load(lab)


@pytest.mark.faults
async def test_a_zombie_wakes_while_it_publishes(broker: Cluster, mode: Mode, seed: int) -> None:
    """A worker is frozen before a request or before its answer, and sends the old records when it resumes."""
    kinds = ("Produce", "OffsetCommit") if mode == "at_least_once" else ("Produce", "TxnOffsetCommit", "EndTxn")
    points = [f"before:{kind}" for kind in kinds]
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        await lab.worker("survivor").ready()
        zombie = lab.worker("zombie", fault_freeze=_point(lab, lab.random.choice(points)))
        async for _ in lab.rounds(2):
            await lab.under_load_until(zombie.has_frozen)
            await lab.moved()
            zombie.resume()
            await lab.moved()
            await zombie.kill()
            zombie.launch(FAULT_FREEZE=_point(lab, lab.random.choice(points)))
        lab.healed()
        await lab.settled(120)
        await lab.verify()


@pytest.mark.faults
async def test_workers_come_and_go(broker: Cluster, mode: Mode, seed: int) -> None:
    """Under load the number of workers changes from one to four and back, ten times."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_partitions=8) as lab:
        first = lab.worker("first")
        await first.ready()
        guests: list[LabWorker] = [lab.worker(name) for name in "abc"]
        async for _ in lab.rounds(10):
            for guest in guests:
                lab.fault("join", worker=guest.name)
                if not guest.is_running:
                    guest.launch()
            await asyncio.gather(*(guest.ready() for guest in guests))
            await lab.moved()
            for guest in guests:
                lab.fault("leave", worker=guest.name)
            exits = await asyncio.gather(*(guest.stop() for guest in guests))
            assert exits == [0, 0, 0]
            await lab.moved()
        await lab.settled(120)
        await lab.verify()


@pytest.mark.faults
async def test_inference_slower_than_the_session(broker: Cluster, mode: Mode, seed: int) -> None:
    """Forward passes of eight seconds with a session timeout of six cause no rebalance and no duplicate."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        worker = lab.worker("slow", fault_pass_s=8)
        await worker.ready()
        lab.fault("slow_inference", pass_s=8)
        await lab.produce(150)
        await lab.settled(120)
        totals = await lab.verify()
        assert len([event for event in worker.events("partitions_assigned") if event["partitions"]]) == 1
        assert worker.events("session_ended") == []
    assert totals.duplicated == 0


@pytest.mark.faults
async def test_a_fetch_task_hangs(broker: Cluster, mode: Mode, seed: int) -> None:
    """The worker detects that the partition has more records, and recovers within half a minute."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        worker = lab.worker("hanging", fault_task="fetch:hang")
        await worker.ready()
        async for _ in lab.rounds(2):
            await lab.some_arrived(300, 3_000)
            worker.send(signal.SIGUSR1)
            # Counted from when there is something that does not come.
            await lab.produce(400)
            began_s = time.monotonic()
            num_before = len(worker.events("fetch_stuck"))
            await lab.under_load_until(lambda: len(worker.events("fetch_stuck")) > num_before)  # noqa: B023  awaited here
            await lab.moved()
            took_s = time.monotonic() - began_s
            lab.history.note("recovered", seconds=round(took_s, 1))
            if took_s > _MAX_HANG_S:
                lab.problem(f"slow: a fetch task that hangs was got over after {took_s:.1f} s, not {_MAX_HANG_S:g}")
        lab.healed()
        await lab.settled(120)
        await lab.verify()
        assert [event for event in worker.events("retry") if "the Kafka client hangs" in str(event["error"])]
