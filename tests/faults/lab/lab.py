"""The laboratory: brokers, workers, a known input, a reader of all outputs, and the verdict at the end.

A scenario reads:

    async with Lab(mode="at_least_once", seed=7, cluster=cluster) as lab:
        await lab.worker("a").ready()
        lab.produce(10_000, rate=1_000)
        ...                                  # faults, at moments that `lab.random` chooses
        await lab.settled(120)
        totals = await lab.verify()          # raises with every violation, and where the history is
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from tests.faults.lab.cluster import Cluster
from tests.faults.lab.history import History
from tests.faults.lab.observer import Ends, Observer, Reader, fetch_ends, map_topics
from tests.faults.lab.oracle import Oracle, Totals, differences, recovery
from tests.faults.lab.protocols import Protocol, choose_protocol
from tests.faults.lab.proxy import Proxies
from tests.faults.lab.workers import PROGRAM, LabWorker, hold_to_limits
from tests.faults.lab.workload import Producing, Workload
from tests.faults.report import add
from worker.broker.admin import topics as admin
from worker.broker.connection.connection import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType

    from tests.faults.lab.oracle import Mode

# How long a transaction may be open after everything has come out: its timeout in the laboratory, and ten seconds.
MAX_HANGING_S = 20.0
MIN_RECOVERY = 0.8
# How long scenarios go on that can go on, and by how much they are multiplied.
DURATION_S = float(os.environ.get("DURATION") or 0)
SCALE = int(os.environ.get("FAULTS_SCALE") or 1)
_DIRECTORY = Path(os.environ.get("FAULTS_DIR", ".data/faults"))


class Lab:
    """One scenario on its own topic. A given `cluster` is healed at the end, because other scenarios use it."""

    def __init__(
        self,
        *,
        mode: Mode,
        seed: int,
        num_partitions: int = 4,
        cluster: Cluster | None = None,
        num_brokers: int = 1,
        proxied: bool = False,
        scenario: str | None = None,
        poison_every: int = 0,
        num_strange: int = 0,
        is_content_known: bool = True,
        layout: Literal["split", "enriched"] = "split",
        protocol: Protocol | None = None,
    ) -> None:
        """Prepare the scenario, which starts when the context is entered. Without a `cluster`, the scenario starts its own.

        `num_strange` more partitions belong to the scenario: the oracle ignores them.
        """
        test = os.environ.get("PYTEST_CURRENT_TEST", "scenario").split("::")[-1].split(" ")[0]
        self.scenario = scenario or re.sub(r"\[.*", "", test)
        self.mode, self.seed = mode, seed
        self.protocol: Protocol = protocol or choose_protocol(self.scenario, mode, seed)
        self.random = random.Random(f"{seed}:{self.scenario}:{mode}")  # noqa: S311  to be repeated, not to be secret
        self.topic = f"faults-{uuid.uuid4().hex[:8]}"
        self.workload = Workload(num_partitions, poison_every=poison_every, is_content_known=is_content_known)
        self._num_created = num_partitions + num_strange
        self.layout, self.outputs = layout, map_topics(self.topic, layout)
        self.history = History(_DIRECTORY / f"{self.scenario}-{mode}-{seed}-{self.topic[-8:]}.jsonl")
        names = {"scenario": self.scenario, "mode": mode, "protocol": self.protocol, "topic": self.topic}
        self.history.note("began", **names, seed=seed, workload=asdict(self.workload))
        self.oracle = Oracle(self.workload, mode)
        self.workers: list[LabWorker] = []
        self._own_cluster, self.cluster = cluster is None, cluster or Cluster(num_brokers, proxied=proxied)
        proxied_nodes = self.cluster.nodes if self.cluster.is_proxied else []
        self.proxies = Proxies([(node.proxy_port, node.behind_proxy_port) for node in proxied_nodes], self.history.fault)
        self._stack = AsyncExitStack()
        self._began_s = time.monotonic()
        self._healed_s: float | None = None
        self._producing: list[asyncio.Task[None]] = []
        self._problems: list[str] = []
        self._ends: Ends | None = None
        self._recovery: float | None = None

    async def __aenter__(self) -> Self:
        """Start everything except the workers."""
        try:
            if self._own_cluster:
                self._stack.callback(self.cluster.close)
                await asyncio.to_thread(self.cluster.start)
            self._stack.enter_context(self.proxies)
            await admin.create_missing(self.connection, dict.fromkeys([self.topic, *self.outputs.values()], self._num_created))
            self.producer = Producing(self.cluster.bootstrap_servers, self.topic, self.workload)
            await self.producer.start()
            self._stack.push_async_callback(self.producer.stop)
            self.observer = Observer(self._reader(self.oracle))
            self._stack.callback(self.observer.stop)
            sampling = asyncio.create_task(hold_to_limits(self.workers, self.history, self.problem))
            self._stack.callback(sampling.cancel)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End all processes, and heal the cluster."""
        for task in self._producing:
            task.cancel()
        for worker in self.workers:
            worker.__exit__(kind, error, trace)
        if error is not None:
            self.history.note("failed", error=f"{type(error).__name__}: {error}")
            error.add_note(f"history: {self.history.path}")
        if not self._own_cluster:
            await asyncio.to_thread(self.cluster.heal)
            await self.cluster.in_sync()
        await self._stack.aclose()

    @property
    def connection(self) -> Connection:
        """The scenario's own connection to the brokers, without proxies."""
        return Connection(bootstrap_servers=self.cluster.bootstrap_servers)

    def worker(self, name: str, program: Sequence[str] = PROGRAM, *, is_direct: bool = False, **settings: object) -> LabWorker:
        """Start a worker; settings that begin with `fault_` are its internal faults (see `program`).

        With `is_direct` the worker connects without the proxies.
        """
        servers = self.cluster.bootstrap_servers if is_direct or not self.cluster.is_proxied else self.cluster.proxied_servers
        own: dict[str, object] = {"delivery": self.mode, "output_layout": self.layout, "group_protocol": self.protocol}
        worker = LabWorker(name, self.history, servers, self.topic, program, **own | settings)
        self.workers.append(worker)
        worker.launch()
        return worker

    def produce(self, count: int, rate: float | None = None) -> asyncio.Task[None]:
        """Send the next `count` records in the background, at `rate` per second or at once."""
        self.history.note("produce", count=count, rate=rate)
        self._producing.append(asyncio.create_task(self.producer.produce(count, rate)))
        return self._producing[-1]

    def fault(self, name: str, **fields: object) -> None:
        """Note a fault that the scenario injects."""
        self.history.fault(name, **fields)

    def healed(self) -> None:
        """Note the end of all faults: from now on the throughput must recover."""
        self._healed_s = time.monotonic()
        self.history.note("healed")

    def problem(self, words: str) -> None:
        """Add a violation of the scenario to the verdict."""
        self._problems.append(words)
        self.history.note("problem", words=words)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on the read outputs holds; the time limit of the test ends the wait."""
        while not condition():
            self.observer.check()
            await asyncio.sleep(0.05)

    async def arrived(self, num_outputs: int) -> None:
        """Return once `num_outputs` more outputs were read."""
        wanted = self.oracle.num_seen + num_outputs
        await self.until(lambda: self.oracle.num_seen >= wanted)

    async def under_load_until(self, condition: Callable[[], bool]) -> None:
        """Keep the workers busy until a condition holds; the time limit of the test ends the wait."""
        while not condition():
            self.load()
            self.observer.check()
            await asyncio.sleep(0.05)

    async def some_arrived(self, few: int, many: int) -> None:
        """Return at a random moment under load, measured in outputs and scaled by `FAULTS_SCALE`."""
        wanted = self.oracle.num_seen + self.random.randrange(few, many) * SCALE
        await self.under_load_until(lambda: self.oracle.num_seen >= wanted)

    async def moved(self) -> None:
        """Return, under load, once every partition has a new output: each partition has an owner again."""
        before = self.oracle.num_by_partition()

        def have_all_moved() -> bool:
            now = self.oracle.num_by_partition()
            return all(now.get(partition, 0) > before.get(partition, 0) for partition in range(self.workload.num_partitions))

        await self.under_load_until(have_all_moved)

    async def steady(self, seconds: float) -> None:
        """Run under load without faults, to measure the throughput."""
        until_s = time.monotonic() + seconds
        await self.under_load_until(lambda: time.monotonic() >= until_s)

    def load(self, num_records: int = 3_000 * SCALE) -> None:
        """Send records until `num_records` records wait to be processed."""
        if all(task.done() for task in self._producing):
            num_waiting = self.producer.num_produced - (self.oracle.num_seen - self.oracle.num_duplicates) // 3
            if num_waiting < num_records:
                self.produce(num_records)

    async def rounds(self, count: int) -> AsyncIterator[int]:
        """Yield `count` rounds, and more until `DURATION` is over, each under load."""
        number = 0
        while number < count or time.monotonic() - self._began_s < DURATION_S:
            self.history.note("round", number=number)
            self.load()
            yield number
            number += 1

    async def settled(self, timeout_s: float) -> bool:
        """Wait until every record has its outputs, no transaction hangs, and all is committed; return whether that is reached.

        The time counts from the last output.
        """
        await asyncio.gather(*self._producing)
        count, num_seen, deadline_s = self.producer.num_produced, -1, 0.0
        while (missing := self.oracle.missing(count)) and (num_seen != self.oracle.num_seen or time.monotonic() < deadline_s):
            self.observer.check()
            if num_seen != self.oracle.num_seen:
                num_seen, deadline_s = self.oracle.num_seen, time.monotonic() + timeout_s
            await asyncio.sleep(0.2)
        if missing:
            self.problem(f"unsettled: after {timeout_s:g} s {len(missing)} records miss something, first {missing[:5]}")
            return False
        return await self._nothing_hangs()

    async def _nothing_hangs(self) -> bool:
        """Wait until the group has committed everything and no transaction is open, as long as the brokers' limits allow."""
        deadline_s = time.monotonic() + MAX_HANGING_S
        while True:
            self._ends = await fetch_ends(self.cluster.bootstrap_servers, self.topic, self.outputs, self.workload.num_partitions)
            if not self._ends.hanging and self._ends.inputs == self._ends.committed:
                self.history.note("settled", records=self.producer.num_produced)
                return True
            if time.monotonic() > deadline_s:
                self.problem(f"hanging: {self._ends} after {MAX_HANGING_S:g} s")
                return False
            await asyncio.sleep(0.2)

    async def verify(self) -> Totals:
        """Read all outputs again, compare them with the expected ones, and add the totals to the summary; raises a violation."""
        self.observer.stop()
        self.observer.check()
        final, count = Oracle(self.workload, self.mode), self.producer.num_produced
        reader = self._reader(final)
        await asyncio.to_thread(lambda: asyncio.run(reader.read_to_end()))
        final.judge(count)
        self._measure_recovery()
        violations = [*final.violations(), *differences(self.oracle, final), *self._problems]
        totals = Totals(
            mode=self.mode,
            scenario=self.scenario,
            seed=self.seed,
            protocol=self.protocol,
            seconds=round(time.monotonic() - self._began_s, 1),
            records=count,
            faults=self.history.num_faults,
            dead_letters=final.num_dead_letters(),
            lost=final.count("lost"),
            duplicated=final.num_duplicates,
            torn=final.count("torn"),
            disordered=final.count("disordered"),
            hanging=len(self._ends.hanging) if self._ends else 0,
            recovery=self._recovery,
            violations=len(violations),
            exits=dict(Counter(str(code) for worker in self.workers for code in worker.exits)),
        )
        self.history.note("totals", **asdict(totals), reader_errors=self.observer.reader.errors, found=violations)
        add(totals, Path(os.environ.get("FAULTS_SUMMARY", _DIRECTORY / "summary.jsonl")))
        assert not violations, "\n".join([*violations, f"history: {self.history.path}"])
        return totals

    def _measure_recovery(self) -> None:
        """Compare the throughput after healing with that before the first fault; only a soak is long enough for a verdict."""
        first_fault_s = self.history.first_fault_s
        if self._healed_s is None or first_fault_s is None:
            return
        self._recovery = recovery(sorted(self.observer.reader.arrivals.items()), first_fault_s, self._healed_s)
        if DURATION_S and self._recovery is not None and self._recovery < MIN_RECOVERY:
            self.problem(f"slow: {self._recovery:.0%} of the throughput came back")

    def _reader(self, oracle: Oracle) -> Reader:
        return Reader(self.cluster.bootstrap_servers, self.outputs, self.workload.num_partitions, oracle)
