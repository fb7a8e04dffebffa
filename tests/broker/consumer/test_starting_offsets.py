"""The first offset of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st

from worker.broker.consumer.starting_offsets import StartOffsets
from worker.broker.log_bounds import LogBounds
from worker.errors import BadSettings
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import TopicPartition


class Group:
    """Knows the partitions of a topic, and the committed offsets of a group."""

    def __init__(self, num_partitions: int, committed: dict[int, tuple[int, str]]) -> None:
        self.num_partitions = num_partitions
        self.committed = committed

    def partitions_for_topic(self, _topic: str) -> set[int]:
        """Return the indexes of the partitions."""
        return set(range(self.num_partitions))

    async def fetch_committed(self, partitions: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return the committed offsets, without partitions that have none."""
        return {key: OffsetAndMetadata(*self.committed[key.partition]) for key in partitions if key.partition in self.committed}


async def learn(starts: StartOffsets, num_partitions: int, committed: dict[int, tuple[int, str]]) -> None:
    """Let the start offsets read the state of a group."""
    group: Any = Group(num_partitions, committed)
    await starts.learn(group, group, "texts")


def build_starts(auto_offset_reset: str, events: list[str] | None = None, *, new_topics: Sequence[str] = ()) -> StartOffsets:
    """Return the start offsets of a group."""
    noted = [] if events is None else events
    return StartOffsets(auto_offset_reset, lambda event, **_fields: noted.append(event), new_topics=new_topics)


LOGS = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)).map(lambda offsets: LogBounds(*sorted(offsets)))


@given(
    log=LOGS,
    committed=st.none() | st.integers(0, 60),
    auto_offset_reset=st.sampled_from(["earliest", "latest"]),
    index=st.integers(0, 3),
)
async def test_only_a_group_that_starts_at_the_latest_offset_skips_records(
    log: LogBounds, committed: int | None, auto_offset_reset: str, index: int
) -> None:
    """A usable committed offset is the start."""
    events: list[str] = []
    found = build_starts(auto_offset_reset, events)
    await learn(found, 2, {})
    start = found.find(Partition("texts", index), committed, log)
    is_usable = committed is not None and log.first <= committed <= log.high_watermark
    is_new = committed is None and auto_offset_reset == "latest" and index < 2
    assert start == (committed if is_usable else log.end if is_new else log.first)
    assert events == (["committed_offset_out_of_range"] if committed is not None and not is_usable else [])


async def test_the_number_of_partitions_is_kept_by_any_committed_offset() -> None:
    first = build_starts("latest")
    await learn(first, 2, {})
    metadata = first.metadata("texts")
    for committed in ({0: (5, metadata)}, {0: (7, ""), 1: (5, metadata)}):
        later = build_starts("latest")
        await learn(later, 4, committed)
        assert later.metadata("texts") == metadata
        assert [later.find(Partition("texts", index), None, LogBounds(0, 9, 9)) for index in range(4)] == [9, 9, 0, 0]


async def test_with_offsets_of_another_program_a_new_partition_is_read_from_its_first_record() -> None:
    found = build_starts("latest")
    await learn(found, 2, {0: (5, "of another program")})
    assert found.metadata("texts") == ""
    assert found.find(Partition("texts", 1), None, LogBounds(3, 9, 9)) == 3


async def test_a_topic_that_lost_its_committed_offsets_is_read_from_its_first_record() -> None:
    """The topic was deleted and created again: the event says so, and later commits name no number of partitions."""
    events: list[str] = []
    found = build_starts("latest", events)
    await learn(found, 2, {})
    assert found.find(Partition("texts", 0), None, LogBounds(0, 9, 9)) == 9
    found.note_begun(Partition("texts", 0))
    assert [found.find(Partition("texts", index), None, LogBounds(0, 5, 5)) for index in (0, 1)] == [0, 0]
    assert events == ["committed_offset_out_of_range"]
    assert found.metadata("texts") == ""


@pytest.mark.parametrize(("committed", "start"), [({}, 0), ({0: (5, "")}, 0), ({0: (5, "gist-stream began with 2 partitions")}, 9)])
async def test_another_partition_of_a_topic_that_lost_its_committed_offsets(
    committed: dict[int, tuple[int, str]], start: int
) -> None:
    """The worker has had no session of partition 1. Offsets without a number are from a worker that noticed the deletion."""
    found, group = build_starts("latest"), Group(2, {})
    await learn(found, 2, {})
    found.note_begun(Partition("texts", 0))
    group.committed = committed
    await found.notice_deletion(cast("Any", group), "texts")
    assert found.find(Partition("texts", 1), None, LogBounds(0, 9, 9)) == start


async def test_a_new_topic_is_read_from_its_first_record() -> None:
    found = build_starts("latest", new_topics=["texts"])
    await learn(found, 2, {})
    assert found.find(Partition("texts", 0), None, LogBounds(0, 9, 9)) == 0


async def test_a_group_that_starts_at_the_earliest_offset_commits_no_metadata() -> None:
    found = build_starts("earliest")
    await learn(found, 2, {})
    assert found.metadata("texts") == ""


def test_without_a_reset_policy_the_error_names_the_partition_and_the_log() -> None:
    found = build_starts("none")
    assert found.find(Partition("texts", 0), 8, LogBounds(2, 5, 9)) == 8
    with pytest.raises(BadSettings, match=r"texts-0: there is no usable committed offset \(10; its log has 2 to 9\)"):
        found.find(Partition("texts", 0), 10, LogBounds(2, 5, 9))
