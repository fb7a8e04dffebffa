"""Scenarios that several tests run, each with a laboratory of its own kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.lab.lab import DURATION_S

if TYPE_CHECKING:
    from tests.faults.lab.lab import Lab
    from tests.faults.lab.workers import LabWorker


async def start_workers(lab: Lab, names: str, **settings: Any) -> list[LabWorker]:
    """Start a worker for each letter; return them when all are ready."""
    workers = [lab.worker(name, **settings) for name in names]
    for worker in workers:
        await worker.ready()
    return workers


async def kill_under_load(lab: Lab, names: str, *, num_kills: int) -> None:
    """Under load kill one of the workers again and again, each time at a random moment, restart it, and verify."""
    workers = await start_workers(lab, names, fault_pass_s=0.05)
    await lab.steady(8 if DURATION_S else 0)
    async for _ in lab.rounds(num_kills):
        await lab.some_arrived(300, 3_000)
        victim = lab.random.choice(workers)
        await victim.kill()
        victim.launch()
    lab.healed()
    await lab.steady(20 if DURATION_S else 0)
    await lab.settled(120)
    await lab.verify()


async def freeze_under_load(lab: Lab) -> None:
    """Freeze a worker beyond its session timeout, let another take over, resume the first, and verify."""
    workers = await start_workers(lab, "ab")
    async for number in lab.rounds(2):
        await lab.some_arrived(300, 3_000)
        zombie = workers[number % 2]
        zombie.suspend()
        await lab.moved()
        zombie.resume()
        await lab.moved()
    lab.healed()
    await lab.settled(120)
    await lab.verify()
