"""Dead letters that are read back hold the record that failed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import InvalidRecord
from worker.records import Failure, Item, Partition, Record, Stage, Task, UnreadableRange
from worker.wire.dead_letters import DeadLetterFilter, DeadLetterRecord
from worker.wire.decode import Limits, decode
from worker.wire.encode import encode_dead_letter

if TYPE_CHECKING:
    from worker.records import Headers

LIMITS = Limits(max_headers=4, max_headers_bytes=200, max_dead_letter_payload_bytes=50)
PLACE = Partition("texts", 3)
# How records of the dead-letter topic stand there.
HOME = Partition("texts.dlq", 1)


def letter(source: Record | UnreadableRange, *, task: Task | None = None, stage: Stage = Stage.INFER) -> DeadLetterRecord:
    """Build the dead letter of a worker, and return it as it is read back."""
    outcome = encode_dead_letter(source, Failure(stage, "OddError", "Too Odd", task), model_name="m@1", limits=LIMITS)
    message = outcome.messages[0]
    return DeadLetterRecord.read(Record(HOME, 17, message.key, message.value, message.headers, 1_000))


NAMES = st.text(max_size=5).map(lambda text: f"h{text}")
headers = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=4).map(tuple)


@given(
    key=st.none() | st.binary(max_size=20),
    value=st.binary(max_size=50),
    own=headers,
    task=st.none() | st.sampled_from(Task),
    num_replays=st.integers(0, 3),
)
def test_a_replayed_record_equals_the_failed_record_after_any_number_of_failures(
    key: bytes | None, value: bytes, own: Headers, task: Task | None, num_replays: int
) -> None:
    """A replay keeps key, value and headers, increments the attempt number and keeps the task of an earlier replay."""
    record = Record(PLACE, 5, key, value, own, 7)
    failed_task = task
    for attempt in range(1, num_replays + 2):
        found = letter(record, task=failed_task)
        assert found.replay_obstacle is None
        assert found.content.attempts == attempt
        message = found.build_original()
        due = () if task is None else (("gist-replay-task", task.encode()),)
        assert (message.key, message.value) == (key, value)
        assert message.headers == (("gist-attempt", b"%d" % (attempt + 1)), *due, *own)
        record = Record(PLACE, 5 + attempt, message.key, message.value, message.headers, 7)
        # The next time it fails as a whole.
        failed_task = None


def test_a_cut_or_unread_payload_cannot_be_replayed() -> None:
    """The replay obstacle names the reason."""
    good = Record(PLACE, 5, b"k", b"{}", (), 7)
    assert letter(good).replay_obstacle is None
    assert "cut" in str(letter(replace(good, value=b"x" * 51)).replay_obstacle)
    assert "cut" in str(letter(replace(good, headers=(("h", b"x" * 300),))).replay_obstacle)
    assert "neither key nor value" in str(letter(replace(good, key=None, value=None)).replay_obstacle)
    assert "could not be read" in str(letter(UnreadableRange(PLACE, 5, 9, "E", "m"), stage=Stage.CONSUME).replay_obstacle)
    changed = letter(good)
    damaged = replace(changed, content=changed.content.model_copy(update={"payload": "e30x"}))
    assert "does not match its checksum" in str(damaged.replay_obstacle)


@pytest.mark.parametrize(("value", "expected"), [(b'{"id":"a","text":"x"}', "a"), (b"\xff", "texts-3-5"), (b"[1]", "texts-3-5")])
def test_a_letter_has_the_id_of_its_record(value: bytes, expected: str) -> None:
    """The id is that of the record's outputs if the id can be decoded."""
    assert letter(Record(PLACE, 5, b"k", value)).id == expected


BINARY: Headers = (("ce_specversion", b"1.0"), ("ce_id", b"e/1"))


@pytest.mark.parametrize(
    ("value", "headers", "expected"),
    [
        (b'{"text":"x"}', BINARY, "e/1"),
        (b'{"text":"x","id":"own"}', BINARY, "own"),
        (b"plain", (*BINARY, ("content-type", b"text/plain")), "e/1"),
        (b'{"text":"cut', BINARY, "e/1"),
        (b'{"text":"x"}', (("ce_id", b"e/1"),), "texts-3-5"),
        (b'{"specversion":"1.0","id":"e/1","data":"x"}', (), "e/1"),
        (b'{"specversion":"1.0","id":"e","data":{"id":"own"}}', (), "own"),
        (b'{"id":"text"}', (("content-type", b"text/plain"),), "texts-3-5"),
        (b'{"id":7}', (), "7"),
        (b'{"id":true}', (), "texts-3-5"),
    ],
)
def test_a_letter_of_an_event_has_the_id_that_its_outputs_have(value: bytes, headers: Headers, expected: str) -> None:
    """The id of the event is found in each form of a CloudEvent, also if the data of the event cannot be decoded."""
    assert letter(Record(PLACE, 5, b"k", value, headers)).id == expected


@pytest.mark.parametrize("task", [None, Task.NER])
def test_a_record_with_as_many_header_bytes_as_it_may_can_be_replayed(task: Task | None) -> None:
    """The headers that a replay adds count neither toward the limit of the worker nor toward that of the next dead letter."""
    full: Headers = (("h", b"x" * (LIMITS.max_headers_bytes - 1)),)
    record = Record(PLACE, 5, b"k", b'{"text":"x"}', full)
    for _ in range(3):
        found = letter(record, task=task)
        assert found.replay_obstacle is None
        record = replace(record, headers=found.build_original().headers)
        assert isinstance(decode(record, limits=LIMITS, tasks=frozenset(Task)), Item)
    more = replace(record, headers=(*record.headers, ("i", b"")))
    with pytest.raises(InvalidRecord, match="the headers have 201 bytes"):
        decode(more, limits=LIMITS, tasks=frozenset(Task))


@pytest.mark.parametrize("field", ["key", "payload", "headers"])
def test_a_letter_whose_base64_is_broken_is_none(field: str) -> None:
    """The dead letter is rejected when it is read, not when its record is sent."""
    message = encode_dead_letter(
        Record(PLACE, 5, b"k", b"{}", (("h", b"v"),)), Failure(Stage.INFER, "E", "m"), model_name="m@1", limits=LIMITS
    ).messages[0]
    says = orjson.loads(message.value or b"")
    says[field] = [{"name": "h", "value": "A"}] if field == "headers" else "A"
    with pytest.raises(InvalidRecord, match=r"texts\.dlq-1@17 is no dead letter"):
        DeadLetterRecord.read(Record(HOME, 17, b"k", orjson.dumps(says)))


def test_a_letter_is_chosen_where_all_that_is_said_holds() -> None:
    """A filter matches if all of its conditions hold; each condition alone can exclude the dead letter."""
    found = letter(Record(PLACE, 5, b"k", b'{"id":"a"}'), task=Task.NER)
    holds = [
        DeadLetterFilter(),
        DeadLetterFilter(names=frozenset({"1@17", "0@3"})),
        DeadLetterFilter(stage="infer", error="OddError", reason="too odd", task="ner"),
        DeadLetterFilter(id="a", topic="texts", partition=3, offset=5),
        DeadLetterFilter(since_ms=1_000, until_ms=1_001),
    ]
    assert all(found in letter_filter for letter_filter in holds)
    fails = [
        DeadLetterFilter(names=frozenset({"0@17"})),
        DeadLetterFilter(stage="decode"),
        DeadLetterFilter(error="Odd"),
        DeadLetterFilter(reason="even"),
        DeadLetterFilter(task="embed"),
        DeadLetterFilter(id="b"),
        DeadLetterFilter(topic="other"),
        DeadLetterFilter(partition=1),
        DeadLetterFilter(offset=6),
        DeadLetterFilter(since_ms=1_001),
        DeadLetterFilter(until_ms=1_000),
    ]
    assert not any(found in letter_filter for letter_filter in fails)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the value is not JSON: EOF while parsing a value"),
        (b"", "the value is not JSON: EOF while parsing a value"),
        (b"{}", "`source`: the field is missing"),
        (b"[]", "the value must be an object"),
        (b"no letter", "the value is not JSON: expected ident"),
        (b"\xff", "the value is not JSON: "),
    ],
)
def test_a_record_that_is_no_dead_letter_is_refused(value: bytes | None, reason: str) -> None:
    """The error contains the position of the message."""
    with pytest.raises(InvalidRecord, match=rf"texts\.dlq-1@17 is no dead letter: {reason}"):
        DeadLetterRecord.read(Record(HOME, 17, b"k", value))
