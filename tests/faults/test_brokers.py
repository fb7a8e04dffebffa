"""Brokers that are restarted, killed and gone, one or all of them: nothing is lost, and every worker lives on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.lab.lab import DURATION_S, SCALE, Lab
from worker.errors import DrainIncomplete

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode
    from tests.faults.lab.protocols import Protocol

pytestmark = pytest.mark.kafka

# Records a second: a machine of two cores with three brokers has room for more.
RATE = 300


async def serving(lab: Lab, *names: str, **settings: Any) -> None:
    """Start workers and return once all serve."""
    for worker in [lab.worker(name, **settings) for name in names]:
        await worker.ready()


@contextlib.asynccontextmanager
async def loaded(lab: Lab) -> AsyncIterator[None]:
    """Produce all the time, at a rate that one worker keeps up with; begin when enough has come out to know the usual rate."""
    should_stop = asyncio.Event()

    async def produce() -> None:
        while not should_stop.is_set():
            await lab.produce(RATE * SCALE // 2, RATE * SCALE)

    producing = asyncio.create_task(produce())
    try:
        await lab.arrived(3 * 8 * RATE)
        yield
    finally:
        should_stop.set()
        await producing


async def concluded(lab: Lab, timeout_s: float = 180) -> None:
    """Say that all is well again, wait for everything to settle, and hold it all against what must be."""
    lab.healed()
    await lab.settled(timeout_s)
    for worker in lab.workers:
        lab.history.note(
            "sessions",
            worker=worker.name,
            **{event: worker.events(event) for event in ("session_opened", "session_ended", "retry")},
        )
        if set(worker.exits) - {-signal.SIGKILL} or not worker.is_running:
            lab.problem(f"ended: {worker.name} did not live through it: {worker.log.read_text()[-2000:]}")
    await lab.verify()


@pytest.mark.faults
async def test_brokers_restart_one_after_the_other(cluster: Cluster, mode: Mode, seed: int) -> None:
    """Each of three brokers stops and restarts under load; leaders and coordinators move, and processing continues."""
    async with Lab(mode=mode, seed=seed, cluster=cluster) as lab:
        await serving(lab, "a", "b")
        async with loaded(lab):
            async for number in lab.rounds(3):
                lab.fault("stop_broker", broker=number % 3)
                await asyncio.to_thread(cluster.stop, number % 3)
                await lab.moved()
                await asyncio.to_thread(cluster.restart, number % 3)
                lab.history.note("restarted", broker=number % 3)
                await lab.moved()
        await concluded(lab)


@pytest.mark.faults
async def test_brokers_die_in_turn(cluster: Cluster, mode: Mode, seed: int) -> None:
    """SIGKILL ends each of three brokers, among them the leaders of output topics and the coordinators, and a worker each time."""
    async with Lab(mode=mode, seed=seed, cluster=cluster) as lab:
        await serving(lab, "a", "b")
        victims = lab.random.sample(range(3), 3)
        async with loaded(lab):
            async for number in lab.rounds(3):
                victim = victims[number % 3]
                lab.fault("kill_broker", broker=victim, leader=await cluster.find_leader(f"{lab.topic}.embeddings", 0))
                await asyncio.to_thread(cluster.kill, victim)
                # Its successor asks where the group stands while the coordinator is only just taking over.
                await lab.workers[number % 2].kill()
                lab.workers[number % 2].launch()
                await lab.moved()
                await asyncio.to_thread(cluster.restart, victim)
                lab.history.note("restarted", broker=victim)
                await lab.some_arrived(100, 3_000)
        await concluded(lab)


@pytest.mark.faults
async def test_the_whole_cluster_is_down(cluster: Cluster, mode: Mode, seed: int) -> None:
    """All brokers die at once and stay down longer than every timeout; after their restart all records are processed."""
    async with Lab(mode=mode, seed=seed, cluster=cluster) as lab:
        await serving(lab, "a", "b")
        async with loaded(lab):
            down_s = min(120.0, max(25.0, DURATION_S))
            lab.fault("kill_cluster", down_s=down_s)
            await asyncio.gather(*(asyncio.to_thread(cluster.kill, node) for node in range(3)))
            await asyncio.sleep(down_s)
            await asyncio.to_thread(cluster.heal)
            lab.history.note("restarted")
            await lab.moved()
        await concluded(lab)


@pytest.mark.faults
async def test_the_only_broker_dies_again_and_again(broker: Cluster, mode: Mode, seed: int) -> None:
    """SIGKILL during transactions: each transaction that the broker leaves open ends as the worker decided."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_partitions=8) as lab:
        await serving(lab, "a", "b", transaction_interval_ms=10, fault_pass_s=0.01)
        async for _ in lab.rounds(4):
            await lab.some_arrived(100, 2_000)
            lab.fault("kill_broker", broker=0)
            await asyncio.to_thread(broker.kill, 0)
            await asyncio.to_thread(broker.restart, 0)
            await lab.moved()
        for worker in lab.workers:
            lab.history.note(
                "hung", worker=worker.name, **{event: worker.events(event) for event in ("offset_hangs", "outputs_hang")}
            )
        await concluded(lab)


async def test_a_worker_drains_under_load(broker: Cluster, mode: Mode, seed: int) -> None:
    """After SIGTERM the worker commits finished records and exits with 0; its successor repeats nothing, in either mode."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        await serving(lab, "a")
        worker = lab.workers[0]
        async for _ in lab.rounds(4):
            await lab.some_arrived(100, 2_000)
            lab.fault("drain", worker="a")
            assert await worker.stop() == 0
            worker.launch()
        await lab.settled(120)
        totals = await lab.verify()
    assert totals.duplicated == 0


@pytest.mark.faults
async def test_a_worker_receives_sigterm_while_the_broker_is_away(broker: Cluster, mode: Mode, seed: int) -> None:
    """The worker stops within its timeouts and reports an incomplete drain; a second signal ends it at once."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        # Slow, so that each worker has something in flight until its broker is away.
        await serving(lab, "patient", "hurried", fault_pass_s=0.5)
        patient, hurried = lab.workers
        await lab.moved()
        await lab.until(lambda: all(worker.metric("gist_in_flight_tokens") > 0 for worker in lab.workers))
        lab.fault("kill_broker", broker=0)
        await asyncio.to_thread(broker.kill, 0)
        stopping = asyncio.create_task(patient.stop())
        hurried.send(signal.SIGTERM)
        # Two signals at once would be one.
        await lab.until(lambda: bool(hurried.events("draining")))
        hurried.send(signal.SIGTERM)
        assert await hurried.exited(30) == 128 + signal.SIGTERM
        assert await stopping == DrainIncomplete.exit_code
        await asyncio.to_thread(broker.restart, 0)
        for worker in lab.workers:
            worker.launch()
        await lab.settled(120)
        await lab.verify()


@pytest.mark.faults
@pytest.mark.parametrize("task", ["fetch:cancel", "fetch:raise", "coordination:cancel", "heartbeat:cancel"])
async def test_a_task_of_the_client_dies_silently(broker: Cluster, mode: Mode, seed: int, task: str) -> None:
    """Heartbeats and polls continue; the worker detects the dead task and joins again within half a minute.

    Only a client of the classic protocol has tasks for the group.
    """
    protocol: Protocol | None = None if task.startswith("fetch") else "classic"
    async with Lab(mode=mode, seed=seed, cluster=broker, protocol=protocol) as lab:
        await serving(lab, "a", "b", fault_task=task)
        async with loaded(lab):
            victim = lab.workers[0]
            victim.send(signal.SIGUSR1)
            async with asyncio.timeout(30):
                await lab.under_load_until(lambda: any("ConsumerBroken" in str(event["error"]) for event in victim.events("retry")))
                await lab.moved()
        await concluded(lab)


@pytest.mark.faults
@pytest.mark.parametrize("hours", [0.5, 12.0])
async def test_the_clock_jumps(broker: Cluster, mode: Mode, seed: int, hours: float) -> None:
    """The time of day jumps by hours every second, forward or back; no timeout of the worker depends on it.

    Brokers refuse timestamps that are an hour ahead; the worker tries again until its clock is right.
    """
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        lab.fault("shake_clock", hours=hours)
        await serving(lab, "a", "b", fault_clock_h=hours, fault_seed=seed)
        lab.produce(10 * RATE * SCALE, RATE)
        await concluded(lab)
