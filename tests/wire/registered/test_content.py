"""Records with registered values and keys, through the mapping: items, dead letters, and the fields of a layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.wire.registered.test_avro import record as avro_record
from tests.wire.registered.test_avro import write
from worker.errors import InvalidRecord
from worker.records import Item, Partition, Record, Task, Tombstone
from worker.wire.content import dump_bytes
from worker.wire.decode import Limits
from worker.wire.fields.paths import FieldPath
from worker.wire.mapping import EmptyText, IdSource, InputMapping, build_decoder, build_field_reader, build_id_reader
from worker.wire.registered.content import RegisteredForm, build_refusal, build_value_reader
from worker.wire.registered.frame import RegisteredSchema, build_prefix
from worker.wire.registered.inspection import find_fault

if TYPE_CHECKING:
    from worker.wire.registered.frame import ValueReader

TICKET = avro_record("Ticket", id="long", body=["null", "string"], photo="bytes")
CHANGE = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": "before", "type": ["null", {**TICKET, "name": "Value"}]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "op", "type": "string"},
        {"name": "source", "type": avro_record("Source", table="string")},
    ],
}
BODY = InputMapping(text=FieldPath.parse("body"))


def form(schema: Any, kind: str = "AVRO") -> RegisteredForm:
    """Return a form with the schema 7."""
    reader = build_value_reader(RegisteredSchema(kind, schema if schema == "{}" else json.dumps(schema)))
    return RegisteredForm({7: reader, 8: build_refusal("the schema registry has no schema with this id")}.get)


def made(value: bytes | None, *, key: bytes | None = b"k", headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    """Return a record."""
    return Record(Partition("tickets", 0), 3, key, value, headers)


def decode(record: Record, schema: Any, mapping: InputMapping = BODY, kind: str = "AVRO") -> Any:
    """Decode a record with the schema 7."""
    return build_decoder(mapping, limits=Limits(), tasks=frozenset(Task), form=form(schema, kind))(record)


def test_text_and_id_come_from_an_avro_record() -> None:
    """A number becomes its digits, as in JSON."""
    found = decode(made(write(TICKET, {"id": 17, "body": "It works.", "photo": b""})), TICKET)
    assert isinstance(found, Item)
    assert (found.id, found.text, found.tasks) == ("17", "It works.", frozenset(Task))


def test_debezium_in_avro_is_unwrapped() -> None:
    """Create and update give the row after the change; delete is a tombstone."""
    row = {"id": 1, "body": "Ada", "photo": b""}
    created = {"before": None, "after": row, "op": "c", "source": {"table": "t"}}
    found = decode(made(write(CHANGE, created)), CHANGE)
    assert isinstance(found, Item)
    assert (found.id, found.text) == ("1", "Ada")
    assert isinstance(decode(made(write(CHANGE, {**created, "before": row, "after": None, "op": "d"})), CHANGE), Tombstone)


def test_json_with_a_schema_and_records_without_one_are_read_from_one_topic() -> None:
    """The prefix decides record by record."""
    for value in (build_prefix(7) + b'{"id": "a", "body": "It works."}', b'{"id": "a", "body": "It works."}'):
        found = decode(made(value), "{}", kind="JSON")
        assert isinstance(found, Item)
        assert (found.id, found.text) == ("a", "It works.")


def test_the_event_id_is_that_of_a_binary_cloudevent() -> None:
    """The attributes are headers, and the data is a registered value."""
    schema = avro_record("Data", body="string")
    found = decode(made(write(schema, {"body": "Hi"}), headers=(("ce_specversion", b"1.0"), ("ce_id", b"e-1"))), schema)
    assert isinstance(found, Item)
    assert found.id == "e-1"


@pytest.mark.parametrize(
    ("value", "schema", "kind", "reason"),
    [
        (build_prefix(8) + b"x", TICKET, "AVRO", "the value of schema 8: the schema registry has no schema with this id"),
        (build_prefix(9) + b"x", TICKET, "AVRO", "schema 9 is not loaded from the registry"),
        (build_prefix(7) + b"x", TICKET, "AVRO", "the value does not fit the Avro schema 7: it ends too early"),
        (
            build_prefix(7) + b"x",
            "{}",
            "XML",
            "the value of schema 7: its schema is of type 'XML'; AVRO, JSON and PROTOBUF are read",
        ),
        (build_prefix(7) + b"x", "{}", "PROTOBUF", "the value of schema 7: its schema is not read: it is no valid .proto file"),
        (build_prefix(7) + b"{", "{}", "JSON", "the data after the schema id are not JSON: "),
        (build_prefix(7) + b"7", "{}", "JSON", "the value of schema 7 must be an object or a string, not a number"),
        (write(TICKET, {"id": 1, "body": None, "photo": b""}), TICKET, "AVRO", "`body` is null; GIST_EMPTY_TEXT=skip"),
        (
            write(avro_record("R", body="bytes"), {"body": b"x"}),
            avro_record("R", body="bytes"),
            "AVRO",
            "must be a string, not bytes",
        ),
        (write(avro_record("R", title="string"), {"title": "x"}), avro_record("R", title="string"), "AVRO", "fields seen: title"),
    ],
)
def test_what_cannot_be_read_names_its_reason(value: bytes, schema: Any, kind: str, reason: str) -> None:
    """A dead letter names the schema, or the path and the fields, and never a value."""
    with pytest.raises(InvalidRecord) as caught:
        decode(made(value), schema, kind=kind)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "key", "identity"),
    [("string", "k-1", "k-1"), ("long", 17, "17"), (avro_record("Key", id="int"), {"id": 5}, "5")],
)
def test_the_id_comes_from_an_avro_key(schema: Any, key: Any, identity: str) -> None:
    """Of a key that is a record with one field, the value of this field."""
    mapping = InputMapping(id_source=IdSource.KEY)
    record = made(b'{"text": "Hi"}', key=write(schema, key))
    found = decode(record, schema, mapping)
    assert isinstance(found, Item)
    assert found.id == identity
    assert build_id_reader(mapping, form(schema))(record) == identity
    no_readers: dict[int, ValueReader] = {}
    # Without the schema, the place of the record identifies it.
    assert build_id_reader(mapping, RegisteredForm(no_readers.get))(record) == "tickets-0-3"


def test_a_key_of_bytes_is_no_id() -> None:
    """Bytes have no form as an id."""
    with pytest.raises(InvalidRecord, match="not bytes"):
        decode(made(b'{"text": "Hi"}', key=write("bytes", b"x")), "bytes", InputMapping(id_source=IdSource.KEY))


def test_a_layout_gets_the_row_as_json() -> None:
    """Bytes are base64 in an output."""
    value = write(
        CHANGE, {"before": None, "after": {"id": 1, "body": "Ada", "photo": b"\xff\x00"}, "op": "c", "source": {"table": "t"}}
    )
    fields = build_field_reader(BODY, form(CHANGE))(made(value))
    assert orjson.loads(orjson.dumps(fields, default=dump_bytes)) == {"id": 1, "body": "Ada", "photo": "/wA="}


def test_empty_text_and_tombstones_are_those_of_json() -> None:
    """The mapping decides, whatever the format."""
    empty = write(TICKET, {"id": 1, "body": None, "photo": b""})
    assert isinstance(decode(made(empty), TICKET, InputMapping(text=BODY.text, empty_text=EmptyText.TOMBSTONE)), Tombstone)
    assert isinstance(decode(made(None), TICKET), Tombstone)


@pytest.mark.parametrize(
    ("schema", "kind", "path", "fault"),
    [
        (TICKET, "AVRO", "body", None),
        (CHANGE, "AVRO", "body", None),
        (CHANGE, "AVRO", "after.body", None),
        ({"type": "map", "values": TICKET}, "AVRO", "any.body", None),
        (avro_record("R", items={"type": "array", "items": TICKET}), "AVRO", "items.0.body", None),
        ("{}", "JSON", "body", None),
        (TICKET, "AVRO", "title", "its latest schema has no field title; its fields are: id, body, photo"),
        (CHANGE, "AVRO", "title", "its latest schema has no field title; its fields are: before, after, op, source"),
        ("{}", "XML", "body", "its latest schema is of type 'XML'; AVRO, JSON and PROTOBUF are read"),
        ("{}", "AVRO", "body", "its latest schema is not read: a type is neither a name nor an object nor a list"),
    ],
)
def test_a_schema_without_the_text_is_found_before_a_record(schema: Any, kind: str, path: str, fault: str | None) -> None:
    """The line names the fields of the schema."""
    text = schema if schema == "{}" else json.dumps(schema)
    assert find_fault(RegisteredSchema(kind, text), path.split(".")) == fault
