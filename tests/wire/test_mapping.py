"""The mapping of records: text, id and tasks from any field, envelopes, and records without a text."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import InvalidRecord
from worker.records import Item, Partition, Record, Task, Tombstone
from worker.wire.decode import Limits, decode
from worker.wire.envelopes import UNAVAILABLE, Envelope
from worker.wire.fields.paths import FieldPath, TextTemplate
from worker.wire.mapping import Decoded, EmptyText, IdSource, InputMapping, Skipped, build_decoder, build_id_reader

ALL = frozenset(Task)
LIMITS = Limits()
PATH = FieldPath.parse
BODY = PATH("body")


def record(value: object, *, key: bytes | None = b"k", headers: tuple[tuple[str, bytes | None], ...] = ()) -> Record:
    """Return a record with a JSON value, or with these bytes."""
    return Record(Partition("texts", 3), 42, key, value if isinstance(value, bytes) else json.dumps(value).encode(), headers)


def read(value: object, *, key: bytes | None = b"k", **mapping: Any) -> Decoded:
    """Decode a record by a mapping."""
    return build_decoder(InputMapping(**mapping), limits=LIMITS, tasks=ALL)(record(value, key=key))


def item(value: object, *, key: bytes | None = b"k", **mapping: Any) -> tuple[str, str]:
    """Return text and id of the item in a record."""
    found = read(value, key=key, **mapping)
    assert isinstance(found, Item)
    return found.text, found.id


def refusal(value: object, *, key: bytes | None = b"k", **mapping: Any) -> str:
    """Return the reason for which a record is a dead letter."""
    with pytest.raises(InvalidRecord) as caught:
        read(value, key=key, **mapping)
    return str(caught.value)


def connect(payload: object) -> dict[str, object]:
    """Return a row in the envelope of Kafka Connect."""
    return {"schema": {"type": "struct"}, "payload": payload}


def change(operation: str, *, before: object = None, after: object = None) -> dict[str, object]:
    """Return a change event of Debezium."""
    return {"before": before, "after": after, "source": {"db": "shop"}, "op": operation, "ts_ms": 1}


def test_text_id_and_tasks_come_from_the_fields_of_the_mapping() -> None:
    """An integer id becomes its digits."""
    value = {"doc": {"title": "T", "body": "B"}, "users": [{"id": 9007199254740993}], "todo": ["ner"]}
    mapping: dict[str, Any] = {
        "text": TextTemplate.parse(r"{doc.title}\n{doc.body}"),
        "id_path": PATH("users.0.id"),
        "tasks_path": PATH("todo"),
    }
    found = read(value, **mapping)
    assert isinstance(found, Item)
    assert (found.text, found.id, found.tasks) == ("T\nB", "9007199254740993", frozenset({Task.NER}))


@pytest.mark.parametrize(
    ("key", "identity"),
    [
        (b"ticket-1", "ticket-1"),
        (b'{"id":7}', "7"),
        (b'{"id":"a"}', "a"),
        (b'"quoted"', "quoted"),
        (b"{no json", "{no json"),
        (b'{"schema":{"type":"struct"},"payload":{"id":7}}', "7"),
        (b'{"a":1,"b":"x"}', '{"a":1,"b":"x"}'),
    ],
)
def test_the_id_may_be_the_key(key: bytes, identity: str) -> None:
    """A key of a database row gives its only value, or the whole key if the row has several."""
    assert item({"text": "x", "id": "no"}, key=key, id_source=IdSource.KEY) == ("x", identity)


def test_a_key_without_text_is_no_id() -> None:
    """A missing key, other bytes than UTF-8 and a control character are refused."""
    assert "has no key" in refusal({"text": "x"}, key=None, id_source=IdSource.KEY)
    assert "not UTF-8" in refusal({"text": "x"}, key=b"\xff\xfe", id_source=IdSource.KEY)
    assert "control character" in refusal({"text": "x"}, key=b"\x00\x00\x00\x07", id_source=IdSource.KEY)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b'{"id":null}', "not null"),
        (b'{"schema":{},"payload":null}', "not null"),
        (b'{"id":123456789012345678901}', "beyond 64 bits"),
        (b'{"a":1,"b":' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply"),
    ],
)
def test_a_key_that_may_be_that_of_several_records_is_no_id(key: bytes, reason: str) -> None:
    """Such a record is a dead letter, and no other exception ends the worker."""
    assert reason in refusal({"text": "x"}, key=key, id_source=IdSource.KEY)


def test_the_id_may_be_the_position() -> None:
    assert item({"text": "x", "id": "no"}, id_source=IdSource.POSITION) == ("x", "texts-3-42")


def test_a_missing_field_is_a_dead_letter_with_the_fields_of_the_record() -> None:
    """Without the default field `id` the position is the id. A field that a setting names must be there."""
    assert refusal({"title": "x", "meta": {"n": 1}}) == "there is no `text`; fields seen: title, meta, meta.n"
    assert refusal({"title": "x"}, text=BODY) == "there is no `body`; fields seen: title"
    assert refusal({}, text=BODY) == "there is no `body`; the record has no fields"
    assert refusal({"body": None}, text=BODY) == "`body` is null; GIST_EMPTY_TEXT=skip skips such records"
    assert refusal({"a": None}, text=PATH("a.b")) == "there is no `a.b`; fields seen: a"
    assert refusal({"text": "x"}, id_path=PATH("number")) == "there is no `number`; fields seen: text"
    assert item({"body": "x"}, text=BODY) == ("x", "texts-3-42")
    assert refusal({"body": 7}, text=BODY) == "`body` must be a string, not a number"
    assert refusal({"body": "x", "n": 1.5}, text=BODY, id_path=PATH("n")).startswith("`n` must be a string or an integer")


def test_a_value_of_a_schema_registry_says_so() -> None:
    assert refusal(b"\x00\x00\x00\x00\x11\x08Ada") == (
        "the value is not JSON: the first byte is the magic byte of a schema registry, of schema 17; set GIST_SCHEMA_REGISTRY_URL"
    )


def test_a_mapping_reads_plain_text_and_events_as_before() -> None:
    """Plain text is the text itself, and the paths begin in the data of an event."""
    decoder = build_decoder(InputMapping(text=BODY, id_path=PATH("number")), limits=LIMITS, tasks=ALL)
    event = {"specversion": "1.0", "id": "e-1", "data": {"body": "x"}}
    plain = decoder(record(b"x", headers=(("content-type", b"text/plain"), ("ce_specversion", b"1.0"), ("ce_id", b"e"))))
    structured = decoder(record(event))
    assert isinstance(plain, Item)
    assert isinstance(structured, Item)
    assert [(found.text, found.id) for found in (plain, structured)] == [("x", "e"), ("x", "e-1")]


@pytest.mark.parametrize("wrap", [connect, lambda row: change("c", after=row), lambda row: connect(change("r", after=row))])
@pytest.mark.parametrize("text", ["text", "body"])
def test_an_envelope_is_unwrapped_without_a_setting(wrap: Any, text: str) -> None:
    """Paths begin in the row of Kafka Connect, of Debezium, and of Debezium in Kafka Connect."""
    assert item(wrap({text: "x", "id": 7}), text=PATH(text)) == ("x", "7")


def test_a_path_may_lead_through_the_envelope() -> None:
    """`after.body` is found in a change event; its delete is a tombstone."""
    mapping: dict[str, Any] = {"text": PATH("after.body"), "id_path": PATH("after.id")}
    assert item(change("u", after={"id": 7, "body": "x"}), **mapping) == ("x", "7")
    assert isinstance(read(change("d", before={"id": 7, "body": "x"}), **mapping), Tombstone)
    assert item(connect({"items": [{"text": "x"}]}), text=PATH("payload.items.0.text")) == ("x", "texts-3-42")


def test_the_other_forms_of_an_envelope_are_read() -> None:
    """A payload may be a text, a document of MongoDB is JSON in a string, and a null payload is a null value."""
    assert item(connect("just text")) == ("just text", "texts-3-42")
    assert item(change("c", after='{"_id":{"$oid":"5f"},"body":"x"}'), text=BODY, id_path=PATH(r"_id.$oid")) == ("x", "5f")
    assert isinstance(read(connect(None)), Tombstone)
    assert isinstance(read(connect(change("d"))), Tombstone)
    assert [read(change(operation)) for operation in "tm"] == [
        Skipped(record(change("t")), "truncate"),
        Skipped(record(change("m")), "message"),
    ]
    assert "needs a key" in refusal(change("d"), key=None)


def test_a_named_envelope_is_required() -> None:
    """Without envelopes, the fields `payload` and `op` are fields like others."""
    assert "no change event of Debezium" in refusal({"body": "x"}, text=BODY, envelope=Envelope.DEBEZIUM)
    assert "no envelope of Kafka Connect" in refusal({"body": "x"}, text=BODY, envelope=Envelope.CONNECT)
    assert item(connect({"body": "x"}), text=PATH("payload.body"), envelope=Envelope.NONE) == ("x", "texts-3-42")
    assert "there is no `text`" in refusal(change("c", after={"text": "x"}), envelope=Envelope.NONE)
    assert "`payload` must be an object or a string, not a list" in refusal(connect([1]))
    assert "`after` must be an object, not a number" in refusal(change("c", after=7))


@pytest.mark.parametrize("value", [{}, {"text": None}, {"text": " \n"}, change("u", after={"id": 1})])
def test_an_empty_text_has_the_chosen_fate(value: object) -> None:
    """A tombstone needs a key; without a key the record is a dead letter."""
    assert read(value, empty_text=EmptyText.SKIP) == Skipped(record(value), "empty")
    assert isinstance(read(value, empty_text=EmptyText.TOMBSTONE), Tombstone)
    assert "needs a key" in refusal(value, key=None, empty_text=EmptyText.TOMBSTONE)
    assert refusal(value).startswith(("there is no `text`", "`text` is null", "the text is blank"))


def test_an_update_that_leaves_the_text_is_skipped_on_request() -> None:
    """Another text, another id and a missing row before the update are processed."""
    before, mapping = {"id": 1, "text": "x", "seen": 1}, dict[str, Any](skips_unchanged=True)
    same = change("u", before=before, after=before | {"seen": 2})
    assert read(same, **mapping) == Skipped(record(same), "unchanged")
    assert item(same) == ("x", "1")
    assert item(change("u", before=before, after=before | {"text": "y"}), **mapping) == ("y", "1")
    assert item(change("u", before=before, after=before | {"id": 2}), **mapping) == ("x", "2")
    assert item(change("u", after=before), **mapping) == ("x", "1")


def test_a_column_that_the_event_lacks_is_never_a_text() -> None:
    """Debezium writes a placeholder for a long column that an update did not change."""
    event = change("u", after={"id": 1, "text": UNAVAILABLE})
    assert "this column is unchanged" in refusal(event)
    assert "this column is unchanged" in refusal(event, text=PATH("after.text"))
    assert read(event, skips_unchanged=True) == Skipped(record(event), "unchanged")
    template = TextTemplate.parse("{title} {text}")
    changed = change("u", after={"title": "new", "text": UNAVAILABLE})
    assert "this column is unchanged" in refusal(changed, text=template, skips_unchanged=True)


def test_a_field_that_no_record_has_is_reported_once_with_the_fields_seen() -> None:
    """The report comes after 100 records; a field that one record has is not reported."""
    warnings: list[str] = []
    mapping = InputMapping(text=BODY, tasks_path=PATH("todo"), empty_text=EmptyText.SKIP)
    decoder = build_decoder(mapping, limits=LIMITS, tasks=ALL, warn=warnings.append)
    for _ in range(99):
        decoder(record({"title": "x"}))
    decoder(record({"body": "x", "title": "x"}))
    decoder(record({"title": "x"}))
    assert warnings == ["GIST_TASKS_FIELD: `todo`: none of the first 100 records has this field; fields seen: title, body"]


@pytest.mark.parametrize("empty_text", EmptyText)
def test_a_topic_without_the_text_field_is_reported_if_its_records_are_no_dead_letters(empty_text: EmptyText) -> None:
    """Skipped records and tombstones name no reason, so a topic in another format would pass without a word."""
    warnings: list[str] = []
    decoders = [
        build_decoder(InputMapping(empty_text=empty_text), limits=LIMITS, tasks=ALL, warn=warnings.append) for _ in range(2)
    ]
    for _ in range(100):
        with contextlib.suppress(InvalidRecord):
            decoders[0](record({"id": "7", "body": "x"}))
        decoders[1](record(b"a plain text", headers=(("content-type", b"text/plain"),)))
    line = "GIST_TEXT_FIELD: `text`: none of the first 100 records has this field; fields seen: id, body"
    assert warnings == [line] * (empty_text is not EmptyText.DEAD_LETTER)


def test_the_values_of_watched_records_are_not_kept() -> None:
    """A field that no record has must not keep 100 records in memory."""
    tracemalloc.start()
    decoder = build_decoder(InputMapping(tasks_path=PATH("x")), limits=LIMITS, tasks=ALL)
    for _ in range(50):
        decoder(record({"text": "x", "a": {"b": "y" * 100_000}}))
    num_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_bytes < 1_000_000


def test_the_id_of_a_failed_record_is_found_by_the_mapping() -> None:
    """The default id stands for an id that is missing or not readable."""
    by_field, by_key = build_id_reader(InputMapping(id_path=PATH("n"))), build_id_reader(InputMapping(id_source=IdSource.KEY))
    assert by_field(record({"n": 7, "id": "no"})) == by_field(record(change("c", after={"n": 7, "text": "x"}))) == "7"
    assert by_field(record(b"{")) == by_field(record({"id": "no"})) == by_key(record({}, key=None)) == "texts-3-42"
    assert by_key(record({}, key=b'{"id":7}')) == "7"
    by_default = build_id_reader(InputMapping())
    assert by_default(record(connect({"id": 7}))) == "7"
    assert by_default(record({"specversion": "1.0", "id": "e", "data": 7})) == "texts-3-42"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
NAMES = st.sampled_from(
    ["text", "body", "id", "tasks", "schema", "payload", "before", "after", "op", "source", "specversion", "data"]
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["c", "u", "d", "t", "m", "r", "1.0", UNAVAILABLE, '{"text":"x"}']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
MAPPINGS = st.builds(
    InputMapping,
    text=st.sampled_from([PATH("text"), BODY, PATH("after.body"), TextTemplate.parse("{text} {body}")]),
    id_source=st.sampled_from(IdSource),
    id_path=st.sampled_from([PATH("id"), PATH("after.id")]),
    tasks_path=st.sampled_from([PATH("tasks"), PATH("op")]),
    envelope=st.sampled_from(Envelope),
    empty_text=st.sampled_from(EmptyText),
    skips_unchanged=st.booleans(),
)


@settings(max_examples=500)
@given(value=VALUES, key=st.none() | st.binary(max_size=4), mapping=MAPPINGS)
def test_any_record_has_exactly_one_fate(value: object, key: bytes | None, mapping: InputMapping) -> None:
    """A record is an item with a text, a tombstone with a key, skipped with a reason, or refused."""
    try:
        found = build_decoder(mapping, limits=LIMITS, tasks=ALL)(record(value, key=key))
    except InvalidRecord:
        return
    if isinstance(found, Item):
        assert found.text.strip()
        assert found.id
        assert found.tasks
        assert UNAVAILABLE not in found.text
    elif isinstance(found, Skipped):
        assert found.reason in {"empty", "unchanged", "truncate", "message"}
    else:
        assert found.record.key is not None


@given(value=st.dictionaries(st.sampled_from(["text", "id", "tasks", "x"]), SCALARS | st.just("hello"), max_size=4))
def test_the_contract_without_an_envelope_is_read_as_by_its_own_decoder(value: dict[str, object]) -> None:
    """The decoder for the contract and the general one agree on every record with a text."""
    found: list[object] = []
    for decoder in (
        lambda source: decode(source, limits=LIMITS, tasks=ALL),
        build_decoder(InputMapping(), limits=LIMITS, tasks=ALL),
        build_decoder(InputMapping(envelope=Envelope.NONE), limits=LIMITS, tasks=ALL),
    ):
        try:
            found.append(decoder(record(value)))
        except InvalidRecord:
            found.append(None)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("column", ["source", "op", "before", "after"])
def test_a_template_may_name_a_column_that_the_envelope_has_too(column: str) -> None:
    """The row comes before the fields of the envelope; a template that leads through the envelope is read as before."""
    row = {"id": 1, "title": "A", column: "web"}
    assert item(change("c", after=row), text=TextTemplate.parse(f"{{title}} {{{column}}}")) == ("A web", "1")
    # The id of the wire contract is outside the row here, and there is none.
    assert item(change("c", after=row), text=TextTemplate.parse("{after.title}")) == ("A", "texts-3-42")


def test_a_record_with_a_source_and_an_operation_is_no_change_event() -> None:
    """The source of a change event is an object. Otherwise a record without a text would delete outputs."""
    assert "`text` is null" in refusal({"id": 1, "text": None, "op": "d", "source": "web"})


def test_a_row_without_its_envelope_may_lack_the_text_too() -> None:
    """The placeholder of an unchanged column is never a text, by the wire contract either."""
    assert "unchanged" in refusal({"id": 1, "text": UNAVAILABLE})


def test_the_event_of_a_deletion_has_the_id_of_its_event() -> None:
    """A dead letter of such a record can be listed."""
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"7"))
    assert build_id_reader(InputMapping(text=BODY))(record({"op": "d", "before": {"x": 1}}, headers=headers)) == "7"
