"""Chunks of earlier versions: what a compacted topic keeps is what the last version has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.makers import PARTITION
from worker.flow.chunk_counts import ChunkCounts
from worker.records import Message, Outcome, Output, Record

VERSIONS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.integers(0, 5)), max_size=20)


def publish(key: bytes | None, offset: int, num_chunks: int | None, previous: bytes | None = None) -> Outcome:
    """Return an outcome with as many chunks; None is a record without an embedding."""
    headers = () if previous is None else (("gist-previous-chunks", previous),)
    record = Record(PARTITION, offset, key, b"{}", headers)
    messages = tuple(Message(Output.EMBEDDINGS, (key or b"") + b"#%d" % number, b"{}") for number in range(num_chunks or 0))
    return Outcome(record, messages, num_chunks=num_chunks)


def compact(outcomes: list[Outcome]) -> set[bytes | None]:
    """Return the keys that a compacted topic keeps."""
    kept: set[bytes | None] = set()
    for message in (message for outcome in outcomes for message in outcome.messages):
        (kept.discard if message.value is None else kept.add)(message.key)
    return kept


@given(versions=VERSIONS, sizes=st.lists(st.integers(1, 5), min_size=20, max_size=20))
def test_a_compacted_topic_has_the_chunks_of_the_last_version(versions: list[tuple[bytes, int | None]], sizes: list[int]) -> None:
    """Whatever publications the versions are in, no chunk of an earlier version remains."""
    counts, published, expected = ChunkCounts(), list[Outcome](), dict[bytes, int]()
    outcomes = [publish(key, offset, num_chunks) for offset, (key, num_chunks) in enumerate(versions)]
    for size in sizes:
        part, outcomes = counts.complete(outcomes[:size]), outcomes[size:]
        counts.note_published(part)
        published += part
    expected = {key: number for key, number in versions if number is not None}
    assert compact(published) == {key + b"#%d" % number for key, count in expected.items() for number in range(count)}


def test_a_publication_that_fails_changes_no_count() -> None:
    """The next attempt has the same tombstones."""
    counts = ChunkCounts()
    counts.note_published([publish(b"a", 1, 5)])
    first, second = counts.complete([publish(b"a", 2, 3)]), counts.complete([publish(b"a", 2, 3)])
    assert first == second
    assert [message.key for message in first[0].messages if message.value is None] == [b"a#3", b"a#4"]


def test_the_header_of_the_producer_counts_and_old_keys_are_dropped() -> None:
    """A count that is no longer known comes from the header; a record without a key has none."""
    counts = ChunkCounts(max_keys=1)
    counts.note_published([publish(b"a", 1, 5), publish(b"b", 2, 4)])
    assert len(counts.complete([publish(b"a", 3, 1)])[0].messages) == 1
    assert len(counts.complete([publish(b"a", 3, 1, b"3")])[0].messages) == 3
    assert len(counts.complete([publish(None, 3, 1, b"3")])[0].messages) == 1


def test_a_version_that_the_broker_may_refuse_hides_no_earlier_chunks() -> None:
    """A publication has tombstones for the last known version, even if a version between them is not published."""
    counts = ChunkCounts()
    counts.note_published([publish(b"a", 1, 5)])
    _, last = counts.complete([publish(b"a", 2, 1), publish(b"a", 3, 3)])
    assert [message.key for message in last.messages if message.value is None] == [b"a#3", b"a#4"]


def test_tombstones_go_to_the_output_with_the_chunks() -> None:
    """In other layouts than `split` that is the only output."""
    counts = ChunkCounts(output=Output.FLAT)
    counts.note_published([publish(b"a", 1, 2)])
    (outcome,) = counts.complete([publish(b"a", 2, 1)])
    assert [(message.output, message.key) for message in outcome.messages if message.value is None] == [(Output.FLAT, b"a#1")]


def test_a_tombstone_deletes_the_first_chunk_of_a_text_from_before_the_start() -> None:
    """Most texts have one chunk, which must not remain after a deletion only because the worker has started again."""
    (outcome,) = ChunkCounts().complete([publish(b"a", 1, 0)])
    assert [(message.key, message.value) for message in outcome.messages] == [(b"a#0", None)]
