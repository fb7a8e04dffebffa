"""The layout `enriched` while workers die and freeze: nothing is lost, repeated or torn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.lab import Lab
from tests.faults.lab.scenarios import freeze_under_load, kill_under_load

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

pytestmark = pytest.mark.kafka


async def test_enriched_outputs_survive_kills(broker: Cluster, mode: Mode, seed: int) -> None:
    """Under load one of two workers is killed four times; each record has one whole message, or one dead letter."""
    async with Lab(mode=mode, seed=seed, cluster=broker, layout="enriched", poison_every=100) as lab:
        await kill_under_load(lab, "ab", num_kills=4)


@pytest.mark.faults
async def test_enriched_outputs_survive_a_zombie(broker: Cluster, mode: Mode, seed: int) -> None:
    """A worker is frozen beyond its session timeout, another worker takes over, and the first resumes."""
    async with Lab(mode=mode, seed=seed, cluster=broker, layout="enriched") as lab:
        await freeze_under_load(lab)
