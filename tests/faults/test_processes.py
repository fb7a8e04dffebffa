"""Workers that die, freeze, come and go: nothing is lost, and what comes twice is what the mode allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import Lab

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster
    from tests.faults.oracle import Mode

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


async def test_a_worker_that_is_killed_again_and_again(broker: Cluster, mode: Mode, seed: int, scale: int) -> None:
    """One of three workers dies ten times under load, each time at a random moment, and is started again."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        workers = [lab.worker(name, fault_pass_s=0.01) for name in "abc"]
        for worker in workers:
            await worker.ready()
        lab.produce(20_000 * scale)
        for _ in range(10):
            await lab.arrived(lab.oracle.num_seen + lab.random.randrange(300, 3_000))
            victim = lab.random.choice(workers)
            await victim.kill()
            victim.launch()
        lab.healed()
        await lab.settled(120)
        await lab.verify()
