"""Topics that refuse, vanish, shrink and grow under running workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.frames import Action, Kind
from tests.faults.lab.lab import Lab
from tests.faults.lab.observer import map_topics
from tests.faults.lab.strange import RESULTS, Strange, commit, good, until
from tests.integration.support.raw import add_partitions, configure, delete_before, delete_group, delete_topic
from tests.integration.support.reading import committed
from tests.integration.support.workers import create
from worker.records import Output, Partition

if TYPE_CHECKING:
    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(180)]
REFUSED = frozenset({Output.EMBEDDINGS, Output.LABELS, Output.DEAD_LETTERS})


async def test_an_output_topic_refuses_one_record(broker: Cluster, mode: Mode, seed: int) -> None:
    """The topic's size limit is lowered at run time; a larger output becomes a dead letter, and nothing else is lost."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_strange=1) as lab:
        strange = Strange(lab)
        worker = lab.worker("a")
        await worker.ready()
        lab.produce(6_000, rate=300)
        await strange.send(good(0))
        await strange.done(60)
        lab.fault("lower_limit", topic=Output.ENTITIES)
        await configure(strange.connection, f"{lab.topic}.{Output.ENTITIES}", {"max.message.bytes": "12000"})
        # Not even compressed would it fit.
        large = good("".join(lab.random.choices("0123456789", k=60_000)))
        await strange.send(good(1), large, good(3))
        await strange.done(60)
        # Who starts now knows the limit beforehand, and a letter is larger than what the other topic takes.
        await worker.stop()
        worker.launch()
        await strange.send(large, good(5))
        await strange.done(60)
        await lab.settled(120)
        await lab.verify()
        parked = {2: sorted(REFUSED), 4: sorted(REFUSED)}
        assert await strange.fates() == {offset: sorted(RESULTS) for offset in (0, 1, 3, 5)} | parked
        assert {letter["stage"] for letter in (await strange.letters()).values()} == {"publish"}


@pytest.mark.parametrize("how", ["oversize", "unreachable", "deleted"])
async def test_nothing_passes_a_dead_letter_that_cannot_be_written(
    proxied_broker: Cluster, mode: Mode, seed: int, how: str
) -> None:
    """The dead letter topic refuses, hangs or is missing: the committed offset stays below the bad record until it is repaired."""
    async with Lab(mode=mode, seed=seed, cluster=proxied_broker, poison_every=200) as lab:
        connection, letters = lab.connection, f"{lab.topic}.{Output.DEAD_LETTERS}"
        worker = lab.worker("a", delivery_timeout_ms=3_000, max_dead_letter_payload_bytes=0)
        await worker.ready()
        lab.fault("dead_letters_refused", how=how)
        if how == "deleted":
            await delete_topic(connection, letters)
        elif how == "oversize":
            await configure(connection, letters, {"max.message.bytes": "300"})
        else:
            lab.proxies[0].arm(Kind.PRODUCE, Action.DROP, count=100_000, containing=letters.encode())
        await lab.produce(2_000)
        # All that is bad lies in the last partition; the others come to their ends.
        *partitions, last = [Partition(lab.topic, index) for index in range(lab.workload.num_partitions)]
        while await committed(connection, f"group-{lab.topic}", partitions) != [500] * len(partitions):  # noqa: ASYNC110  the broker knows
            await asyncio.sleep(0.5)
        await until(lambda: worker.metric("gist_partition_session_failures_total") >= 4)
        (reached,) = await committed(connection, f"group-{lab.topic}", [last])
        first_bad = next(number for number in range(2_000) if lab.workload.fate(number)[3])
        assert (last.index, reached) <= lab.workload.place(first_bad)
        assert worker.is_running
        if how == "deleted":
            await create(connection, lab.topic, num_partitions=lab.workload.num_partitions)
        await configure(connection, letters, {"max.message.bytes": "1048588"})
        lab.proxies.heal()
        lab.healed()
        await lab.settled(120)
        await lab.verify()


async def test_the_log_begins_behind_the_committed_offset(broker: Cluster, mode: Mode, seed: int) -> None:
    """Retention deletes records before they are read; the remaining records are processed once, and the loss is reported."""
    async with Lab(mode=mode, seed=seed, cluster=broker, num_strange=1) as lab:
        strange = Strange(lab)
        worker = lab.worker("a")
        await worker.ready()
        lab.produce(4_000, rate=300)
        await strange.send(*map(good, range(50)))
        await strange.done(60)
        await worker.stop()
        await strange.send(*map(good, range(50, 100)))
        lab.fault("retention", before=70)
        await delete_before(strange.connection, strange.partition, 70)
        # Slow enough to lag, and to be overtaken again.
        worker.launch(FAULT_PASS_S="0.3")  # noqa: S106  no password
        await worker.ready()
        assert [event["committed"] for event in worker.events("committed_offset_out_of_range")] == [50]
        await strange.done(60)
        await strange.send(*map(good, range(100, 3_000)))
        lab.fault("retention", before=2_900)
        await delete_before(strange.connection, strange.partition, 2_900)
        await strange.done(120)
        await lab.settled(120)
        await lab.verify()
        fates = await strange.fates()
        assert [offset for offset in fates if fates[offset] != sorted(RESULTS)] == []
        assert fates.keys() >= {*range(50), *range(70, 100), *range(2_900, 3_000)}
        assert not fates.keys() & set(range(50, 70))


async def test_the_offsets_of_the_group_are_deleted(broker: Cluster, mode: Mode, seed: int) -> None:
    """The brokers have removed the offsets of an idle group: the worker starts anew or refuses, as the settings say."""
    # To begin anew repeats everything: who asked for exactly once would rather be asked.
    auto_offset_reset, exit_code = ("earliest", 0) if mode == "at_least_once" else ("none", 2)
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        connection, group_id = lab.connection, f"group-{lab.topic}"
        partitions = [Partition(lab.topic, index) for index in range(lab.workload.num_partitions)]
        first = lab.worker("first")
        await first.ready()
        await lab.produce(1_000)
        await lab.settled(60)
        await first.stop()
        offsets = await committed(connection, group_id, partitions)
        lab.fault("offsets_deleted")
        await delete_group(connection, group_id)
        await lab.produce(1_000)
        second = lab.worker("second", auto_offset_reset=auto_offset_reset)
        if exit_code:
            assert await second.exited(60) == exit_code
            # Its operator says from where.
            await commit(connection, group_id, dict(zip(partitions, offsets, strict=True)))
            second.launch()
        await lab.settled(120)
        totals = await lab.verify()
        assert totals.duplicated == (3_000 if mode == "at_least_once" else 0)


async def test_partitions_are_added(broker: Cluster, mode: Mode, seed: int) -> None:
    """The group reads a new partition from its first record, and the other partitions are unaffected."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        strange = Strange(lab)
        worker = lab.worker("a")
        await worker.ready()
        produced = lab.produce(6_000, rate=300)
        num_partitions = lab.workload.num_partitions + 1
        lab.fault("partition_added")
        for topic in map_topics(lab.topic).values():
            await add_partitions(strange.connection, topic, num_partitions=num_partitions)
        # It reads at its start how many partitions the outputs have.
        await worker.stop()
        worker.launch()
        await worker.ready()
        await add_partitions(strange.connection, lab.topic, num_partitions=num_partitions)
        await strange.send(*map(good, range(500)))
        await strange.done(120)
        await produced
        await lab.settled(120)
        await lab.verify()
        assert await strange.fates() == {offset: sorted(RESULTS) for offset in range(500)}
