"""Decoding: any bytes give a valid result or `InvalidRecord` with a reason."""

from __future__ import annotations

import base64
import json
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.errors import InvalidRecord
from worker.records import Item, Partition, Record, Task, Tombstone
from worker.wire.decode import Limits, decode, read_attempts

if TYPE_CHECKING:
    from worker.records import Headers

ALL = frozenset(Task)
LIMITS = Limits()


def record(value: bytes | None, *, key: bytes | None = b"k", headers: Headers = ()) -> Record:
    """Return a record."""
    return Record(Partition("texts", 3), 42, key, value, headers)


def item(value: bytes, *, headers: Headers = (), tasks: frozenset[Task] = ALL) -> Item:
    """Decode a record to an item."""
    decoded = decode(record(value, headers=headers), limits=LIMITS, tasks=tasks)
    assert isinstance(decoded, Item)
    return decoded


def test_a_json_request_is_read() -> None:
    """The item has the text, the id and the tasks; unknown fields are ignored."""
    found = item(b'{"text": "hello", "id": "a-1", "tasks": ["ner", "embed"], "score": 1}')
    assert (found.text, found.id, found.tasks) == ("hello", "a-1", frozenset({Task.NER, Task.EMBED}))


def test_without_an_id_the_place_is_the_id() -> None:
    """The id consists of the topic, the partition and the offset."""
    assert item(b'{"text":"x"}').id == "texts-3-42"


def test_of_duplicate_keys_the_last_counts() -> None:
    assert item(b'{"text":"first","text":"last"}').text == "last"


def test_plain_text_is_read_when_its_header_says_so() -> None:
    """The content type may have a charset, in upper or lower case."""
    assert item("naïve".encode(), headers=(("content-type", b"Text/Plain; charset=UTF-8"),)).text == "naïve"


def test_a_structured_cloudevent_is_read() -> None:
    """The data of the event is the request or the text; the id of the event is used if the data has no id."""
    event = {"specversion": "1.0", "id": "e-1", "source": "/s", "type": "t"}
    headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    assert item(json.dumps(event | {"data": {"text": "a"}}).encode(), headers=headers).id == "e-1"
    assert item(json.dumps(event | {"data": {"text": "a", "id": "own"}}).encode()).id == "own"
    assert item(json.dumps(event | {"data": "just text"}).encode()).text == "just text"
    encoded = base64.b64encode(b'{"text":"b64"}').decode()
    assert item(json.dumps(event | {"data_base64": encoded}).encode()).text == "b64"


def test_a_binary_cloudevent_is_read() -> None:
    """The attributes are headers, and the value is data of the event's content type."""
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"e-2"), ("content-type", b"text/plain"))
    assert (item(b"plain", headers=headers).text, item(b"plain", headers=headers).id) == ("plain", "e-2")
    assert item(b'{"text":"json"}', headers=(*headers[:2], ("content-type", b"application/json"))).text == "json"


def test_tasks_may_come_in_a_header_and_the_field_wins() -> None:
    """Commas separate the names of the tasks in the header."""
    headers = (("tasks", b"embed, ner"),)
    assert item(b'{"text":"x"}', headers=headers).tasks == {Task.EMBED, Task.NER}
    assert item(b'{"text":"x","tasks":["classify"]}', headers=headers).tasks == {Task.CLASSIFY}


@given(names=st.lists(st.sampled_from(list(Task)), min_size=1), empty=st.sampled_from([",", " , ", ",,", ", ,\t,"]))
@pytest.mark.parametrize("header", ["tasks", "gist-replay-task"])
def test_empty_names_in_a_list_of_tasks_are_ignored(header: str, names: list[Task], empty: str) -> None:
    """A comma before, between or after the names changes nothing."""
    for written in (",".join(names) + empty, empty + ",".join(names), empty.join(names)):
        assert item(b'{"text":"x"}', headers=((header, written.encode()),)).tasks == set(names)


# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, and both ends of each range.
IGNORABLE = [
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
]
INVISIBLE = st.sampled_from(IGNORABLE).flatmap(lambda bounds: st.integers(*bounds)).map(chr) | st.sampled_from(
    [chr(code) for code in range(0x11_0000) if chr(code).isspace() or unicodedata.category(chr(code)) == "Cc"]
)


@given(text=st.text(INVISIBLE, min_size=1))
def test_a_text_of_invisible_characters_alone_is_blank(text: str) -> None:
    """White space, control and default-ignorable characters make a blank text, in JSON and in plain text."""
    for value, headers in ((json.dumps({"text": text}).encode(), ()), (text.encode(), PLAIN)):
        with pytest.raises(InvalidRecord, match="the text is blank"):
            item(value, headers=headers)


def test_every_ignorable_character_alone_is_blank() -> None:
    """Each code point of the ranges is blank; the code points next to a range are visible or unassigned."""
    for first, last in IGNORABLE:
        for code in range(first, last + 1):
            with pytest.raises(InvalidRecord, match="the text is blank"):
                item(json.dumps({"text": chr(code)}).encode())


@given(before=st.text(INVISIBLE), visible=st.characters(categories=["L", "N", "P", "S", "M"]), after=st.text(INVISIBLE))
def test_a_text_with_one_visible_character_is_none_of_them(before: str, visible: str, after: str) -> None:
    """The text is decoded without a change."""
    ignorable = any(first <= ord(visible) <= last for first, last in IGNORABLE) or visible == "\u2800"
    text = before + visible + after
    if not ignorable:
        assert item(json.dumps({"text": text}).encode()).text == text


@given(identity=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=256))
@example(identity="क्\u200dष")
@example(identity="a\u00a0b\u202f/\u2028\u200e:🏳\ufe0f\u200d🌈")
def test_an_id_may_hold_any_character_but_controls(identity: str) -> None:
    """An id may have joiners, separators, spaces and direction marks, as a field and as the id of an event."""
    assert item(json.dumps({"text": "x", "id": identity}).encode()).id == identity
    headers = (("ce_specversion", b"1.0"), ("ce_id", identity.encode()))
    assert item(b'{"text":"x"}', headers=headers).id == identity


@given(control=st.characters(categories=["Cc"]), rest=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_an_id_with_a_control_character_is_refused(control: str, rest: str) -> None:
    """The control characters are those of the sets C0 and C1."""
    with pytest.raises(InvalidRecord, match="the control character U"):
        item(json.dumps({"text": "x", "id": rest + control}).encode())


def test_an_event_may_come_in_both_forms_at_once() -> None:
    """A structured event may have the headers of a binary event: the outer id is used only if the inner event has none."""
    binary = (("ce_specversion", b"1.0"), ("ce_id", b"outer"), ("content-type", b"application/json"))
    event = {"specversion": "1.0", "id": "inner", "data": {"text": "x"}}
    assert item(json.dumps(event).encode(), headers=binary).id == "inner"
    assert item(json.dumps(event | {"id": None}).encode(), headers=binary).id == "outer"


def test_a_task_that_another_worker_serves_is_left_to_it() -> None:
    """The worker runs the other tasks of the record; a record without any served task is invalid."""
    served = frozenset({Task.EMBED})
    assert item(b'{"text":"x","tasks":["embed","ner"]}', tasks=served).tasks == {Task.EMBED}
    with pytest.raises(InvalidRecord, match="none of the tasks"):
        decode(record(b'{"text":"x","tasks":["ner"]}'), limits=LIMITS, tasks=served)


def test_a_null_value_is_a_tombstone() -> None:
    """A tombstone without a key is invalid, because it would delete nothing."""
    assert isinstance(decode(record(None), limits=LIMITS, tasks=ALL), Tombstone)
    with pytest.raises(InvalidRecord, match="needs a key"):
        decode(record(None, key=None), limits=LIMITS, tasks=ALL)


CLOUD = (("content-type", b"application/cloudevents+json"),)
PLAIN = (("content-type", b"text/plain"),)


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"", (), "not JSON"),
        (b"\xff\xfe", (), "not JSON"),
        (b"\xff\xfe", PLAIN, "not UTF-8: byte 0 is 0xff"),
        (b"x", (("content-type", b"text/plain; charset=latin-1"),), "must be UTF-8"),
        (b'{"text": NaN}', (), "not JSON"),
        (b'{"text": "a", "n": Infinity}', (), "not JSON"),
        (b"[" * 200_000, (), "depth limit"),
        (b'{"a":' * 200_000, (), "depth limit"),
        (b'{"text": "a", "n": ' + b"9" * 10_000 + b"}", (), "not JSON"),
        (b'{"text": "\\ud800"}', (), "not JSON"),
        (b"\xef\xbb\xbf{}", (), "BOM"),
        (b'["text"]', (), "must be a JSON object with a `text`, not a list"),
        (b'"text"', (), "not a string"),
        (b"null", (), "not null"),
        (b"{}", (), "there is no `text`"),
        (b'{"text": null}', (), "there is no `text`"),
        (b'{"text": 7}', (), "`text` must be a string, not a number"),
        (b'{"text": true}', (), "not a boolean"),
        (b'{"text": ""}', (), "blank"),
        (b'{"text": " \\u0000\\n\\t "}', (), "blank"),
        (b'{"text": "x", "id": 7.5}', (), "`id` must be a string or an integer, not a number with a fraction"),
        (b'{"text": "x", "id": true}', (), "`id` must be a string or an integer, not a boolean"),
        (b'{"text": "x", "id": ""}', (), "`id` has 0 characters"),
        (b'{"text": "x", "id": "' + b"i" * 257 + b'"}', (), "`id` has 257"),
        (b'{"text": "x", "id": "a\\nb"}', (), "the control character U+000A"),
        (b'{"text": "x", "tasks": "embed"}', (), "must be a list"),
        (b'{"text": "x", "tasks": [1]}', (), "must be a list of names"),
        (b'{"text": "x", "tasks": []}', (), "`tasks` is empty"),
        (b'{"text": "x"}', (("tasks", b" , ,"),), "`tasks` is empty"),
        (b'{"text": "x"}', (("tasks", b""),), "`tasks` is empty"),
        (b'{"text": "x"}', (("tasks", b"embed,translate,"),), "there is no task 'translate'"),
        (b'{"text": "x", "tasks": ["translate"]}', (), "there is no task 'translate'"),
        (b'{"text": "x"}', (("tasks", b"\xff"),), "the header 'tasks' is not UTF-8"),
        (b'{"text": "x"}', (("content-type", b"\xff"),), "the header 'content-type' is not UTF-8"),
        (b'{"text": "x"}', (("content-type", b"application/cloudevents-batch+json"),), "is not read"),
        (b'{"specversion": "0.3", "data": "x"}', CLOUD, "specversion '0.3'"),
        (b'{"specversion": "1.0", "data": [1]}', CLOUD, "not a list"),
        (b'{"specversion": "1.0"}', CLOUD, "not null"),
        (b'{"specversion": "1.0", "data_base64": "%%%"}', CLOUD, "not base64"),
        (b'{"specversion": "1.0", "data_base64": 1}', CLOUD, "must be a string"),
        (b'{"specversion": "1.0", "data_base64": "e30=", "datacontenttype": 5}', CLOUD, "datacontenttype"),
        (b"<x/>", (("ce_specversion", b"1.0"), ("content-type", b"application/xml")), "'application/xml' is not read"),
        (b"{", (("ce_specversion", b"1.0"),), "the event's data is not JSON"),
        (b"x" * 1_048_577, (), "at most 1048576"),
        (json.dumps({"text": "x" * 1_000_001}).encode(), (), "at most 1000000"),
        (b'{"text": "x"}', tuple((f"h{n}", b"") for n in range(33)), "33 headers"),
        (b'{"text": "x"}', (("h", b"x" * 16_384),), "the headers have"),
    ],
)
def test_a_request_outside_the_contract_is_refused_with_a_reason(value: bytes, headers: Headers, reason: str) -> None:
    """The reason names the mistake for the reader of the dead letter."""
    with pytest.raises(InvalidRecord) as caught:
        decode(record(value, headers=headers), limits=LIMITS, tasks=ALL)
    assert reason in str(caught.value)


def test_a_megabyte_without_a_space_is_a_text() -> None:
    assert len(item(json.dumps({"text": "x" * 1_000_000}).encode()).text) == 1_000_000


def test_nul_and_surrogate_pairs_come_through() -> None:
    assert item(b'{"text":"a\\u0000\\ud83d\\ude00"}').text == "a\0😀"


HEADERS = st.lists(
    st.tuples(st.sampled_from(["content-type", "tasks", "ce_specversion", "ce_id", "other"]), st.none() | st.binary(max_size=40)),
    max_size=6,
).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["text", "id", "tasks", "data", "specversion", "data_base64", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(
    value=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), headers=HEADERS, key=st.none() | st.binary()
)
def test_any_bytes_give_an_item_or_a_reason(value: bytes, headers: Headers, key: bytes | None) -> None:
    """Decoding raises no exception other than `InvalidRecord`."""
    reason: str | None = None
    decoded = None
    try:
        decoded = decode(record(value, key=key, headers=headers), limits=LIMITS, tasks=ALL)
    except InvalidRecord as error:
        reason = str(error)
    if decoded is None:
        assert reason
    else:
        assert isinstance(decoded, Item)
        assert decoded.text.strip()
        assert decoded.tasks


def test_a_replay_says_how_often_and_which_task_is_still_due() -> None:
    """The task of a replay narrows the tasks of the record, and never adds a task."""
    assert item(b'{"text":"x"}', headers=(("gist-replay-task", b"ner"), ("gist-attempt", b"2"))).tasks == frozenset({Task.NER})
    assert item(b'{"text":"x","tasks":["ner","embed"]}', headers=(("gist-replay-task", b"ner"),)).tasks == frozenset({Task.NER})
    with pytest.raises(InvalidRecord, match="none of the tasks to repeat"):
        item(b'{"text":"x","tasks":["embed"]}', headers=(("gist-replay-task", b"ner"),))


@pytest.mark.parametrize(("written", "expected"), [(b"3", 3), (b"", 1), (b"0", 1), (b"-2", 1), (b"x", 1), (b"9" * 99, 1)])
def test_how_often_a_record_is_tried_stands_on_it(written: bytes, expected: int) -> None:
    """A value that is not a number counts as the first attempt."""
    assert read_attempts((("gist-attempt", written),)) == expected
    assert read_attempts(()) == 1


@given(
    value=st.sampled_from(
        [b'{"text":"x"}', b'{"text":"x","id":"i","tasks":["ner"]}', b"plain", b'{"specversion":"1.0","data":"x"}']
    ),
    names=st.lists(
        st.sampled_from(
            ["content-type", "tasks", "ce_specversion", "ce_id", "gist-replay-task", "gist-attempt", "traceparent", "other"]
        ),
        max_size=6,
    ),
)
def test_a_header_whose_value_is_null_is_as_good_as_none(value: bytes, names: list[str]) -> None:
    """A null header that the worker would read is ignored."""

    def fate(headers: Headers) -> object:
        try:
            found = item(value, headers=headers)
        except InvalidRecord as error:
            return str(error)
        return found.text, found.id, found.tasks

    headers = tuple((name, None) for name in names)
    assert fate(headers) == fate(())
    assert read_attempts(headers) == 1


def test_of_a_name_that_comes_twice_the_last_value_counts() -> None:
    """A null value that comes last hides the value before it."""
    assert item(b'{"text":"x"}', headers=(("tasks", b"ner"), ("tasks", None))).tasks == ALL
    assert item(b'{"text":"x"}', headers=(("tasks", None), ("tasks", b"ner"))).tasks == {Task.NER}


def test_headers_of_a_replay_do_not_count_towards_the_limit() -> None:
    """A record with the maximum number of headers is still valid after a replay."""
    headers = tuple((f"h{number}", b"") for number in range(LIMITS.max_headers))
    assert item(b'{"text":"x"}', headers=(("gist-attempt", b"2"), ("gist-replay-task", b"ner"), *headers)).tasks == frozenset(
        {Task.NER}
    )
    with pytest.raises(InvalidRecord, match="33 headers"):
        item(b'{"text":"x"}', headers=(("more", b""), *headers))
