"""Where a session begins, for every committed offset and every log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st

from worker.broker.consumer.starting_offsets import StartOffsets
from worker.broker.log_bounds import LogBounds
from worker.errors import BadSettings
from worker.records import Partition

if TYPE_CHECKING:
    from aiokafka import TopicPartition


class Coordinator:
    """Answers with what a group has committed."""

    def __init__(self, committed: dict[int, tuple[int, str]]) -> None:
        self.committed = committed

    async def fetch_committed_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        """Leave out a partition without a committed offset, as the client does."""
        return {it: OffsetAndMetadata(*self.committed[it.partition]) for it in places if it.partition in self.committed}


def client(num_partitions: int, committed: dict[int, tuple[int, str]]) -> Any:
    """Return a client that knows a topic and the offsets of its group."""
    return SimpleNamespace(partitions_for_topic=lambda _topic: set(range(num_partitions)), _coordinator=Coordinator(committed))


def starts(auto_offset_reset: str, events: list[str] | None = None) -> StartOffsets:
    """Return the starts of a group."""
    told = [] if events is None else events
    return StartOffsets(auto_offset_reset, lambda event, **_fields: told.append(event))


LOGS = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)).map(lambda it: LogBounds(*sorted(it)))


@given(
    log=LOGS,
    committed=st.none() | st.integers(0, 60),
    auto_offset_reset=st.sampled_from(["earliest", "latest"]),
    index=st.integers(0, 3),
)
async def test_no_record_that_the_group_has_not_seen_is_left_out(
    log: LogBounds, committed: int | None, auto_offset_reset: str, index: int
) -> None:
    """A usable committed offset is the start; without one, only a group that begins at the end leaves records out."""
    events: list[str] = []
    found = starts(auto_offset_reset, events)
    await found.learn(client(2, {}), "texts")
    start = found.find(Partition("texts", index), committed, log)
    is_usable = committed is not None and log.first <= committed <= log.high_watermark
    is_new = committed is None and auto_offset_reset == "latest" and index < 2
    assert start == (committed if is_usable else log.end if is_new else log.first)
    assert events == (["committed_offset_out_of_range"] if committed is not None and not is_usable else [])


async def test_the_number_of_partitions_lasts_over_restarts() -> None:
    """As long as any offset of the topic carries the number."""
    first = starts("latest")
    await first.learn(client(2, {}), "texts")
    metadata = first.metadata("texts")
    for committed in ({0: (5, metadata)}, {0: (7, ""), 1: (5, metadata)}):
        later = starts("latest")
        await later.learn(client(4, committed), "texts")
        assert later.metadata("texts") == metadata
        assert [later.find(Partition("texts", it), None, LogBounds(0, 9, 9)) for it in range(4)] == [9, 9, 0, 0]


async def test_an_offset_of_another_program_says_nothing_of_how_the_group_began() -> None:
    """A partition without a committed offset is read whole: that loses nothing."""
    found = starts("latest")
    await found.learn(client(2, {0: (5, "of another program")}), "texts")
    assert found.metadata("texts") == ""
    assert found.find(Partition("texts", 1), None, LogBounds(3, 9, 9)) == 3


async def test_a_group_that_begins_at_the_first_record_notes_nothing() -> None:
    """Where to begin needs no memory then."""
    found = starts("earliest")
    await found.learn(client(2, {}), "texts")
    assert found.metadata("texts") == ""


def test_an_operator_who_wants_to_choose_is_asked() -> None:
    """In one line that names the partition and the bounds of its log."""
    found = starts("none")
    assert found.find(Partition("texts", 0), 8, LogBounds(2, 5, 9)) == 8
    with pytest.raises(BadSettings, match=r"texts-0: there is no usable committed offset \(10; its log has 2 to 9\)"):
        found.find(Partition("texts", 0), 10, LogBounds(2, 5, 9))
