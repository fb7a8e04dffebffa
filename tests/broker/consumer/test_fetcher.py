"""The fetcher with a scripted consumer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from worker.broker.consumer.fetcher import Fetcher
from worker.errors import ConsumerBroken
from worker.records import EmptyRange, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO = Partition("texts", 0), Partition("texts", 1)


class ScriptedClient:
    """Returns scripted records from its positions."""

    def __init__(self) -> None:
        self.logs: dict[int, list[int]] = {}
        self.positions: dict[int, int] = {}
        # The number of offsets without a record after an offset.
        self.markers: dict[int, int] = {}
        # Called before each fetch, with the requested partitions.
        self.before: Callable[[tuple[TopicPartition, ...]], None] = lambda _asked: None
        running = SimpleNamespace(done=lambda: False)
        self._fetcher = SimpleNamespace(_fetch_task=running, _records={})
        self._coordinator = SimpleNamespace(_coordination_task=running, _heartbeat_task=running, _rejoin_needed_fut=running)

    def seek(self, where: TopicPartition, offset: int) -> None:
        """Set the position."""
        self.positions[where.partition] = offset

    def resume(self, where: TopicPartition) -> None:
        """Do nothing, because no partition is paused."""

    def assignment(self) -> set[TopicPartition]:
        """Return all partitions that have a position."""
        return {TopicPartition("texts", index) for index in self.positions}

    @property
    def _subscription(self) -> Any:
        """Return the positions as aiokafka stores them."""
        states = {TopicPartition("texts", index): position for index, position in self.positions.items()}
        assignment = SimpleNamespace(
            tps=states.keys(), state_value=lambda where: SimpleNamespace(has_valid_position=True, position=states[where])
        )
        return SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))

    def last_stable_offset(self, where: TopicPartition) -> int | None:
        """Return the end of the log."""
        log = self.logs.get(where.partition)
        return log[-1] + 1 if log else None

    async def getmany(self, *asked: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        """Return the records from the positions on."""
        del timeout_ms
        self.before(asked)
        answer = {}
        for where in asked:
            found = [offset for offset in self.logs.get(where.partition, []) if offset >= self.positions[where.partition]][
                :max_records
            ]
            if found:
                self.positions[where.partition] = found[-1] + 1 + self.markers.get(found[-1], 0)
                answer[where] = [
                    SimpleNamespace(offset=offset, key=None, value=b"", headers=[("h", None)], timestamp=None) for offset in found
                ]
        return answer


def numbers(found: Any) -> list[tuple[int, int]]:
    """Return partition and offset of each record."""
    return [(record.partition.index, record.offset) for record in found]


async def test_records_from_before_a_rebalance_are_dropped() -> None:
    """The partition is read at 96. While the other one is read, a rebalance opens the partition again at 92. No record is lost."""
    client = ScriptedClient()
    client.logs = {0: list(range(80, 100)), 1: [5]}
    fetcher = Fetcher(client, lambda event, **fields: None)  # noqa: ARG005
    fetcher.seek(ONE, 96)
    fetcher.seek(TWO, 5)

    def rebalance(asked: tuple[TopicPartition, ...]) -> None:
        if asked == (TopicPartition("texts", 1),):
            client.before = lambda _asked: None
            fetcher.pause(ONE)
            fetcher.seek(ONE, 92)

    client.before = rebalance
    assert numbers(await fetcher.poll([ONE, TWO], max_records=100, timeout_ms=0)) == [(1, 5)]
    assert numbers(await fetcher.poll([ONE, TWO], max_records=100, timeout_ms=0)) == [(0, offset) for offset in range(92, 100)]


async def test_an_exception_of_one_partition_loses_no_record() -> None:
    """Each record comes once, in order."""
    client = ScriptedClient()
    client.logs = {0: list(range(10)), 1: list(range(10))}
    events: list[str] = []
    fetcher = Fetcher(client, lambda event, **fields: events.append(event))  # noqa: ARG005
    fetcher.seek(ONE, 0)
    fetcher.seek(TWO, 0)
    failures = [ValueError("once"), ValueError("twice")]

    def fail(asked: tuple[TopicPartition, ...]) -> None:
        if TopicPartition("texts", 1) in asked and failures:
            # aiokafka has moved the position when it raises.
            client.positions[1] = 7
            raise failures.pop()

    client.before = fail
    found: list[Any] = []
    while len(found) < 20:
        found += await fetcher.poll([ONE, TWO], max_records=100, timeout_ms=0)
    assert sorted(numbers(found)) == [(partition, offset) for partition in (0, 1) for offset in range(10)]
    assert [offset for offset in numbers(found) if offset[0] == 1] == [(1, offset) for offset in range(10)]
    assert events == ["fetch_failed"]


async def test_offsets_without_a_record_are_an_empty_range() -> None:
    """A buffered error also moves the position, but is no empty range."""
    client = ScriptedClient()
    client.logs, client.markers = {0: [3, 4], 1: [5]}, {4: 2}
    fetcher = Fetcher(client, lambda event, **fields: None)  # noqa: ARG005
    fetcher.seek(ONE, 3)
    fetcher.seek(TWO, 5)
    found = await fetcher.poll([ONE], max_records=10, timeout_ms=0)
    assert found == [
        Record(ONE, 3, None, b"", (("h", None),), -1),
        Record(ONE, 4, None, b"", (("h", None),), -1),
        EmptyRange(ONE, 5, 7),
    ]
    client.positions[1] = 6
    client._fetcher._records[TopicPartition("texts", 1)] = "an error"
    assert await fetcher.poll([ONE, TWO], max_records=10, timeout_ms=0) == []
    client._fetcher._records.clear()
    assert await fetcher.poll([ONE], max_records=10, timeout_ms=0) == []
    assert await fetcher.poll([TWO], max_records=10, timeout_ms=0) == [EmptyRange(TWO, 5, 6)]


async def test_a_missing_header_value_and_a_missing_timestamp_are_kept_apart() -> None:
    """A missing timestamp is -1."""
    client = ScriptedClient()
    client.logs = {0: [3]}
    fetcher = Fetcher(client, lambda event, **fields: None)  # noqa: ARG005
    fetcher.seek(ONE, 0)
    assert await fetcher.poll([ONE], max_records=1, timeout_ms=0) == [Record(ONE, 3, None, b"", (("h", None),), -1)]
    assert fetcher.lag() == {ONE: 0}


async def test_a_dead_background_task_breaks_the_consumer() -> None:
    for name, task in (("_fetcher", "_fetch_task"), ("_coordinator", "_coordination_task")):
        client = ScriptedClient()
        setattr(client, name, SimpleNamespace(**{task: SimpleNamespace(done=lambda: True)}))
        with pytest.raises(ConsumerBroken, match="task has died"):
            await Fetcher(client, lambda event, **fields: None).poll([], max_records=1, timeout_ms=0)  # noqa: ARG005


async def test_the_pauses_between_failures_grow_until_a_record_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses_s.append(seconds)

    monkeypatch.setattr("worker.broker.consumer.fetcher.asyncio.sleep", sleep)
    client = ScriptedClient()
    fetcher = Fetcher(client, lambda event, **fields: None)  # noqa: ARG005
    fetcher.seek(ONE, 0)

    def fail(_asked: tuple[TopicPartition, ...]) -> None:
        raise KafkaError("at once")

    client.before = fail
    for _ in range(12):
        assert await fetcher.poll([ONE], max_records=10, timeout_ms=0) == []
    assert len(pauses_s) >= 12
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == 1
    client.before = lambda _asked: None
    client.logs = {0: [0]}
    assert numbers(await fetcher.poll([ONE], max_records=10, timeout_ms=0)) == [(0, 0)]
    client.before = fail
    await fetcher.poll([ONE], max_records=10, timeout_ms=0)
    assert pauses_s[-1] == pauses_s[0]
