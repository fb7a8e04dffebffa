"""A network that loses, holds back and delivers late: what was given up must not come true in a later transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.faults.lab.frames import Action, Kind
from tests.faults.lab.lab import Lab
from tests.faults.test_brokers import concluded, loaded, serving

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

pytestmark = pytest.mark.kafka

# What may arrive late, and then must do no harm.
LATE: dict[Mode, tuple[Kind, ...]] = {
    "at_least_once": (Kind.PRODUCE, Kind.OFFSET_COMMIT),
    "exactly_once": (
        Kind.END_TXN,
        Kind.TXN_OFFSET_COMMIT,
        Kind.ADD_OFFSETS_TO_TXN,
        Kind.PRODUCE,
        Kind.ADD_PARTITIONS_TO_TXN,
    ),
}
# Where a worker freezes with something published that is not committed.
BETWEEN: dict[Mode, str] = {"at_least_once": "before:OffsetCommit:8", "exactly_once": "before:EndTxn:40"}


async def find_coordinator(lab: Lab) -> int:
    """Return the index of the broker that coordinates the group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=lab.cluster.bootstrap_servers, request_timeout_ms=5_000)
    await admin.start()
    try:
        return int(await admin.find_coordinator(f"group-{lab.topic}")) - 1
    finally:
        await admin.close()


@pytest.mark.faults
async def test_a_black_hole_before_the_coordinator(cluster: Cluster, mode: Mode, seed: int) -> None:
    """Requests of one of two workers are lost, then the answers to it; the other worker takes over undisturbed."""
    async with Lab(mode=mode, seed=seed, cluster=cluster) as lab:
        await serving(lab, "cut-off")
        await serving(lab, "well", is_direct=True)
        async with loaded(lab):
            async for number in lab.rounds(3):
                proxy = lab.proxies[await find_coordinator(lab)]
                proxy.black_hole(requests=number % 3 != 1, answers=number % 3 != 0)
                # Longer than the session of the one that is cut off, and than it waits for an answer.
                await asyncio.sleep(15)
                await lab.moved()
                proxy.heal()
                lab.history.note("network_healed")
                await lab.moved()
        await concluded(lab)


@pytest.mark.faults
async def test_a_request_arrives_late(proxied_broker: Cluster, mode: Mode, seed: int) -> None:
    """A request arrives after its sender's timeout, and after a retry or a new session; later outputs are unaffected."""
    limits = {"drain_timeout_ms": 3_000, "rebalance_timeout_ms": 6_000, "request_timeout_ms": 6_500}
    async with Lab(mode=mode, seed=seed, cluster=proxied_broker) as lab:
        await serving(lab, "insisting", **limits)
        await serving(lab, "giving-up", **limits, delivery_timeout_ms=2_000)
        kinds = LATE[mode]
        async with loaded(lab):
            async for number in lab.rounds(len(kinds)):
                held = lab.random.randrange(2, 6)
                rule = lab.proxies[0].arm(kinds[number % len(kinds)], Action.HOLD, seconds=8 + lab.random.random() * 4, count=held)
                await lab.until(lambda rule=rule: rule.num_applied > 0)  # type: ignore[misc]  # mypy cannot infer it
                await lab.some_arrived(300, 3_000)
        await concluded(lab)


@pytest.mark.faults
@pytest.mark.parametrize("is_taken_over", [False, True])
async def test_a_transaction_is_held_beyond_its_time(broker: Cluster, mode: Mode, seed: int, is_taken_over: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A worker is frozen between publishing and committing until the brokers abort its transaction, and then continues."""
    limits = {"transaction_timeout_ms": 3_000}
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        await serving(lab, "frozen", fault_freeze=BETWEEN[mode], **limits)
        if is_taken_over:
            await serving(lab, "other", **limits)
        frozen = lab.workers[0]
        await lab.under_load_until(frozen.has_frozen)
        if is_taken_over:
            await lab.moved()
        else:
            # The brokers look for transactions that are too old every second.
            await asyncio.sleep(8)
        frozen.resume()
        await lab.moved()
        await concluded(lab)
