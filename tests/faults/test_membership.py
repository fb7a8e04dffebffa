"""Changes of the group under faults: members come, go, freeze and change their protocol while coordinator and network fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.frames import Action, Kind
from tests.faults.lab.lab import DURATION_S, Lab
from tests.faults.test_brokers import loaded, serving
from tests.faults.test_network import find_coordinator

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode
    from tests.faults.lab.protocols import Protocol
    from tests.faults.lab.workers import LabWorker

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

HEARTBEATS: dict[Protocol, Kind] = {"classic": Kind.HEARTBEAT, "consumer": Kind.CONSUMER_GROUP_HEARTBEAT}
# What changes the group while its coordinator dies.
STEPS = ("join", "leave", "kill", "rejoin")
# Members that come and go; a soak has more.
NUM_GUESTS = 10 if DURATION_S else 4


async def test_the_coordinator_dies_during_each_change(cluster: Cluster, mode: Mode, seed: int) -> None:
    """SIGKILL ends the coordinator while a member joins, leaves, was killed, and comes back."""
    async with Lab(mode=mode, seed=seed, cluster=cluster) as lab:
        await serving(lab, "a", "b")
        guest = lab.workers[1]
        async with loaded(lab):
            async for number in lab.rounds(len(STEPS)):
                victim = await find_coordinator(lab)
                changing = asyncio.create_task(_change(guest, STEPS[number % len(STEPS)]))
                await asyncio.sleep(lab.random.random())
                lab.fault("kill_broker", broker=victim, step=STEPS[number % len(STEPS)])
                await asyncio.to_thread(cluster.kill, victim)
                await changing
                await lab.moved()
                await asyncio.to_thread(cluster.restart, victim)
                lab.history.note("restarted", broker=victim)
                await cluster.in_sync()
        if not guest.is_running:
            guest.launch()
        await _concluded(lab)


async def _change(guest: LabWorker, step: str) -> None:
    """Make the guest take a step; a join is a restart of a running guest."""
    if step in ("join", "leave") and guest.is_running:
        await guest.stop()
    elif guest.is_running:
        await guest.kill()
    if step in ("join", "rejoin"):
        guest.launch()


async def _concluded(lab: Lab) -> None:
    """Judge the run once everything has settled. A worker that drains while its coordinator is gone may exit with an error."""
    lab.healed()
    await lab.settled(180)
    await lab.verify()


async def test_heartbeats_are_delayed_lost_and_reordered(proxied_broker: Cluster, mode: Mode, seed: int) -> None:
    """A heartbeat waits, arrives after later ones, or loses its answer; the group changes meanwhile."""
    limits = {"drain_timeout_ms": 3_000, "rebalance_timeout_ms": 6_000, "request_timeout_ms": 6_500}
    faults = [(Action.HOLD, 2.0), (Action.SWALLOW, 0.0), (Action.DROP_ANSWER, 0.0), (Action.HOLD, 8.0)]
    async with Lab(mode=mode, seed=seed, cluster=proxied_broker) as lab:
        await serving(lab, "a", "b", **limits)
        guest = lab.workers[1]
        async with loaded(lab):
            async for number in lab.rounds(len(faults)):
                action, seconds = faults[number % len(faults)]
                kind, count = HEARTBEATS[lab.protocol], lab.random.randrange(1, 4)
                rule = lab.proxies[0].arm(kind, action, seconds=seconds, count=count)
                await guest.stop()
                await lab.until(lambda rule=rule: rule.num_applied > 0)  # type: ignore[misc]  # mypy cannot infer it
                guest.launch()
                await guest.ready()
                await lab.moved()
        lab.proxies.heal()
        await _concluded(lab)


async def test_a_member_freezes_while_partitions_move(broker: Cluster, mode: Mode, seed: int) -> None:
    """A member freezes before a heartbeat, beyond its session, while another joins or leaves; thawed, it owns nothing of before."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        kind = "ConsumerGroupHeartbeat" if lab.protocol == "consumer" else "Heartbeat"
        await serving(lab, "survivor")
        guest = lab.worker("guest")
        frozen = lab.worker("frozen", fault_freeze=f"before:{kind}:{lab.random.randrange(1, 8)}")
        async for _ in lab.rounds(2):
            await lab.under_load_until(frozen.has_frozen)
            if guest.is_running:
                await guest.stop()
            else:
                guest.launch()
            await lab.moved()
            frozen.resume()
            await lab.moved()
            await frozen.kill()
            frozen.launch(FAULT_FREEZE=f"before:{kind}:{lab.random.randrange(1, 8)}")
        lab.healed()
        await lab.settled(120)
        await lab.verify()


async def test_two_workers_have_one_instance_id(broker: Cluster, mode: Mode, seed: int) -> None:
    """Two processes with one name harm only the speed; when one is gone the other has its partitions."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        await serving(lab, "other")
        twins = [lab.worker(name, group_instance_id="twin") for name in ("first", "second")]
        async for number in lab.rounds(2):
            lab.fault("one_instance_id", rounds=number)
            await lab.some_arrived(300, 3_000)
            await lab.moved()
            await twins[number % 2].kill()
            await lab.moved()
            twins[number % 2].launch()
        await twins[0].kill()
        lab.healed()
        await lab.settled(120)
        await lab.verify()


async def test_a_rolling_restart(broker: Cluster, mode: Mode, seed: int) -> None:
    """Each of three workers stops and starts again under load; nothing is lost and nothing repeated, in either mode."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_partitions=8) as lab:
        await serving(lab, *"abc")
        async for number in lab.rounds(3):
            await _restart(lab, lab.workers[number % 3])
        await lab.settled(120)
        totals = await lab.verify()
    assert totals.duplicated == 0


async def _restart(lab: Lab, worker: LabWorker, **environment: str) -> None:
    lab.fault("restart", worker=worker.name, **environment)
    assert await worker.stop() == 0
    worker.launch(**environment)
    await worker.ready()
    await lab.moved()


async def test_members_come_and_go_at_random(broker: Cluster, mode: Mode, seed: int) -> None:
    """Members join, leave and are killed in a random order, also while the group still moves partitions."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_partitions=8) as lab:
        await serving(lab, "first")
        guests = [lab.worker(f"guest-{number}") for number in range(NUM_GUESTS)]
        await asyncio.gather(*(guest.ready() for guest in guests))
        async for _ in lab.rounds(8):
            guest = lab.random.choice(guests)
            if not guest.is_running:
                guest.launch()
                await guest.ready()
            elif lab.random.random() < 1 / 2:
                await guest.kill()
            else:
                lab.fault("leave", worker=guest.name)
                await guest.stop()
            await lab.some_arrived(30, 600)
        lab.healed()
        await lab.settled(120)
        await lab.verify()


async def test_a_group_changes_its_protocol_while_it_runs(broker: Cluster, mode: Mode, seed: int) -> None:
    """Worker by worker the group moves to the consumer protocol and back; nothing is lost, and exactly once repeats nothing."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_partitions=8, protocol="classic") as lab:
        await serving(lab, "a", "b")
        for protocol in ("consumer", "classic"):
            for worker in lab.workers:
                await _restart(lab, worker, GIST_GROUP_PROTOCOL=protocol)
        await lab.settled(120)
        totals = await lab.verify()
    assert mode == "at_least_once" or totals.duplicated == 0
