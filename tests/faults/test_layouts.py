"""The layout `enriched` while workers die and freeze: nothing is lost, repeated or torn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.lab import DURATION_S, Lab

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

pytestmark = pytest.mark.kafka


async def test_enriched_outputs_survive_kills(broker: Cluster, mode: Mode, seed: int) -> None:
    """Under load one of two workers is killed six times; each record has one whole message, or one dead letter."""
    async with Lab(mode=mode, seed=seed, cluster=broker, layout="enriched", poison_every=100) as lab:
        workers = [lab.worker(name, fault_pass_s=0.05) for name in "ab"]
        for worker in workers:
            await worker.ready()
        async for _ in lab.rounds(6):
            await lab.some_arrived(300, 3_000)
            victim = lab.random.choice(workers)
            await victim.kill()
            victim.launch()
        lab.healed()
        await lab.steady(20 if DURATION_S else 0)
        await lab.settled(120)
        await lab.verify()


@pytest.mark.faults
async def test_enriched_outputs_survive_a_zombie(broker: Cluster, mode: Mode, seed: int) -> None:
    """A worker is frozen beyond its session timeout, another worker takes over, and the first resumes."""
    async with Lab(mode=mode, seed=seed, cluster=broker, layout="enriched") as lab:
        workers = [lab.worker(name) for name in "ab"]
        for worker in workers:
            await worker.ready()
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
