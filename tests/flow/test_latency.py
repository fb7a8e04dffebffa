"""The latency of an open-loop load, in virtual time: lanes, batch budget and two passes that share a processor."""

from __future__ import annotations

import asyncio
import random
import selectors
import statistics
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.makers import OPTIONS, tokenized
from worker.flow import lanes
from worker.flow.lanes import build_lanes

if TYPE_CHECKING:
    from worker.batches import Batch
    from worker.flow.lanes import Lane
    from worker.records import TokenizedItem

# A pass costs this time in addition to its tokens, in seconds.
_PASS_S = 0.002
# Two passes take turns after this time of the processor, in seconds.
_TURN_S = 0.001
_POLL_S = 0.002
_MEAN_TOKENS, _SIMULATED_S, _SETTLING_S = 28, 10.0, 2.0


class _VirtualSelector(selectors.SelectSelector):
    """Moves the clock instead of waiting."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "every task waits for another"
        self.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while all tasks wait."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now_s

    @classmethod
    def monotonic(cls) -> float:
        """Return the virtual time, in place of `time.monotonic`."""
        return asyncio.get_running_loop().time()


@dataclass
class Simulation:
    """A worker at a constant mean load. Records arrive at random, and the processor computes `tokens_per_s`."""

    tokens_per_s: float
    share: float
    arrived_s: list[float] = field(default_factory=list)
    waiting: list[TokenizedItem] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    async def run(self) -> float:
        """Return the median time from the arrival of a record to the end of its pass, in seconds."""
        options = replace(OPTIONS, max_batch_tokens=0, max_batch_records=512, max_batch_delay_s=0.002, max_in_flight_tokens=65_536)
        self._lanes, self._processor, self._threads = build_lanes(options, max_passes=2), asyncio.Lock(), asyncio.Semaphore(2)
        live, _ = self._lanes
        async with asyncio.TaskGroup() as tasks:
            endless = [tasks.create_task(self._poll()), tasks.create_task(self._infer(live, tasks))]
            await self._arrive()
            for task in endless:
                task.cancel()
        return statistics.median(self.waits_s)

    async def _arrive(self) -> None:
        rng = random.Random(0)  # noqa: S311  arrivals, not secrets
        loop = asyncio.get_running_loop()
        while loop.time() < _SIMULATED_S:
            await asyncio.sleep(rng.expovariate(self.share * self.tokens_per_s / _MEAN_TOKENS))
            self.waiting.append(tokenized(len(self.arrived_s), rng.randint(6, 2 * _MEAN_TOKENS - 6)))
            self.arrived_s.append(loop.time())

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            if self.waiting:
                self._lanes.add(self.waiting, asyncio.get_running_loop().time())
                self.waiting = []
                await self._lanes.wait_for_more()

    async def _infer(self, live: Lane, tasks: asyncio.TaskGroup) -> None:
        while True:
            tasks.create_task(self._process(live, await live.next_batch()))

    async def _process(self, live: Lane, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        taken_s = loop.time()
        async with self._threads:
            alone_s = left_s = _PASS_S + batch.num_tokens / self.tokens_per_s
            while left_s > 0:
                async with self._processor:
                    await asyncio.sleep(min(_TURN_S, left_s))
                left_s -= _TURN_S
            self._lanes.note_pass(batch, alone_s)
        live.release_slot(loop.time() - taken_s)
        arrived = [self.arrived_s[item.item.record.offset] for item in batch.items]
        self.waits_s += [loop.time() - arrived_s for arrived_s in arrived if arrived_s > _SETTLING_S]


@pytest.mark.parametrize("tokens_per_s", [3_000, 10_000, 40_000])
@pytest.mark.parametrize(("share", "limit_ms"), [(0.75, 100), (0.85, 200)])
def test_records_wait_little_below_the_capacity(
    tokens_per_s: float, share: float, limit_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch budget adapts to the speed of the processor, so that slow processors have short queues, too."""
    monkeypatch.setattr(lanes, "time", VirtualLoop)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(Simulation(tokens_per_s, share).run()) * 1000 < limit_ms
