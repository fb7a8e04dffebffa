"""Protobuf: what Google's package writes is read as it was, hostile schemas are refused, and hostile values are dead letters."""

from __future__ import annotations

import base64
import contextlib
import sys
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import InvalidRecord
from worker.records import Item, Partition, Record, Task
from worker.wire.decode import Limits
from worker.wire.fields.paths import FieldPath
from worker.wire.mapping import IdSource, InputMapping, build_decoder
from worker.wire.registered.content import RegisteredForm, build_value_reader
from worker.wire.registered.frame import InvalidSchema, RegisteredSchema, build_prefix
from worker.wire.registered.inspection import find_fault
from worker.wire.registered.proto_values import MessageConverter
from worker.wire.registered.protobuf import build_file, build_protobuf_reader

_INT32, _INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
_UINT32, _UINT64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "string": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
    "double": st.floats(allow_nan=False),
    "float": st.floats(allow_nan=False, width=32),
    **dict.fromkeys(("int32", "sint32", "sfixed32"), _INT32),
    **dict.fromkeys(("int64", "sint64", "sfixed64"), _INT64),
    **dict.fromkeys(("uint32", "fixed32"), _UINT32),
    **dict.fromkeys(("uint64", "fixed64"), _UINT64),
}
_LABELS = {"": "LABEL_OPTIONAL", "optional": "LABEL_OPTIONAL", "repeated": "LABEL_REPEATED"}

COMMON = 'syntax = "proto3"; package shop; message Price { int64 cents = 1; }'
TICKET = """
syntax = "proto3";
package shop.v1;
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "shop/price.proto";
option java_package = "shop";
// A ticket of the shop.
message Ticket {
  reserved 90 to 99;
  enum State { option allow_alias = true; NEW = 0; OPEN = 1; ACTIVE = 1; }
  message Line { string text = 1; }
  int64 number = 1 [deprecated = true];
  string body = 2;
  optional string note = 3;
  State state = 4;
  google.protobuf.Timestamp at = 5;
  shop.Price price = 6;
  oneof by { string name = 7; uint64 user = 8; }
  map<string, Line> lines_by_name = 9;
  repeated Line lines = 10;
  google.protobuf.Int64Value weight = 11;
  google.protobuf.Struct more = 12;
  bytes photo = 13;
  map<bool, int32> counts = 14;
  Ticket parent = 15;
}
message Mail { message Part { string text = 1; } string body = 1; Part part = 2; }
"""
SCHEMA = RegisteredSchema("PROTOBUF", TICKET, (COMMON,))
KEY = RegisteredSchema("PROTOBUF", 'syntax = "proto3"; message Key { int64 id = 1; }')


def new_message(schema: RegisteredSchema, name: str, **fields: Any) -> Any:
    """Return a message of a schema."""
    return GetMessageClass(build_file(schema).message_types_by_name[name])(**fields)


def frame(message: Any, indexes: bytes = b"\x00") -> bytes:
    """Return a registered value as Confluent's serializer writes it."""
    return build_prefix(7) + indexes + bytes(message.SerializeToString())


def read(text: str, data: bytes) -> Any:
    """Read data by a schema without references."""
    return build_protobuf_reader(RegisteredSchema("PROTOBUF", text))(build_prefix(7) + data)


@st.composite
def files_and_values(draw: st.DrawFn) -> tuple[str, Any, dict[str, Any]]:
    """Return a .proto file, its descriptor, and the fields of a message that has them all."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", syntax="proto3")
    message, lines, values = file.message_type.add(name="M"), list[str](), dict[str, Any]()
    for number, kind in enumerate(draw(st.lists(st.sampled_from(sorted(_SCALARS)), max_size=8)), start=1):
        label, name = draw(st.sampled_from(sorted(_LABELS))), f"field_{number}"
        field = message.field.add(name=name, number=number, label=_LABELS[label], type=f"TYPE_{kind.upper()}")
        if label == "optional":
            field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")
        lines.append(f"{label} {kind} {name} = {number};")
        values[name] = draw(st.lists(_SCALARS[kind], max_size=3) if label == "repeated" else _SCALARS[kind])
    return f'syntax = "proto3"; message M {{ {" ".join(lines)} }}', file, values


@settings(max_examples=60, deadline=None)
@given(files_and_values())
def test_values_are_read_as_they_were_by_the_text_and_by_the_descriptor(given_file: tuple[str, Any, dict[str, Any]]) -> None:
    """The writer has the descriptor only. 64 bits stay numbers and bytes stay bytes."""
    text, file, values = given_file
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    data = b"\x00" + GetMessageClass(pool.FindMessageTypeByName("M"))(**values).SerializeToString()
    assert read(text, data) == values
    assert read(base64.b64encode(file.SerializeToString()).decode(), data) == values


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_a_hostile_value_is_read_or_a_dead_letter(data: bytes) -> None:
    """No other exception ends the worker."""
    with contextlib.suppress(InvalidRecord):
        assert isinstance(_READ(build_prefix(7) + data), dict)


_READ = build_protobuf_reader(SCHEMA)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()))
def test_a_hostile_schema_is_read_or_refused(text: str) -> None:
    """A text of any form is a schema or raises `InvalidSchema`."""
    with contextlib.suppress(InvalidSchema, InvalidRecord):
        read(text, b"\x00")


def test_every_kind_of_field_has_its_form() -> None:
    """Fields with presence are left out without a value; other fields have their default."""
    ticket = new_message(SCHEMA, "Ticket", number=2**62, body="It works.", note="", state=1, photo=b"\xff", user=2**64 - 1)
    ticket.price.cents, ticket.weight.value, ticket.at.seconds = 5, 2**60, 1_796_047_506
    ticket.lines_by_name["a"].text, ticket.more["b"], ticket.counts[True] = "A", [1, None], 2
    ticket.lines.add()
    given_state, unknown_state = _READ(frame(ticket)), new_message(SCHEMA, "Ticket", state=9)
    assert given_state == {
        "number": 2**62,
        "body": "It works.",
        "note": "",
        "state": "OPEN",
        "at": "2026-11-30T14:05:06Z",
        "price": {"cents": 5},
        "user": 2**64 - 1,
        "lines_by_name": {"a": {"text": "A"}},
        "lines": [{"text": ""}],
        "weight": 2**60,
        "more": {"b": [1.0, None]},
        "photo": b"\xff",
        "counts": {"true": 2},
    }
    defaults = {"number": 0, "body": "", "photo": b"", "lines_by_name": {}, "lines": [], "counts": {}}
    assert _READ(frame(unknown_state)) == {**defaults, "state": 9}
    ticket.at.seconds = 10**15
    assert _READ(frame(ticket))["at"] == {"seconds": 10**15, "nanos": 0}


def test_a_value_that_is_a_well_known_message_has_its_form() -> None:
    """The form does not depend on the place of the message."""
    text = 'syntax = "proto3"; import "google/protobuf/struct.proto"; message A { map<string, google.protobuf.Value> a = 1; }'
    value = new_message(RegisteredSchema("PROTOBUF", text), "A")
    value.a["x"].number_value = 1.5
    assert read(text, b"\x00" + value.SerializeToString()) == {"a": {"x": 1.5}}
    value.a["x"].number_value = float("nan")
    assert list(read(text, b"\x00" + value.SerializeToString())["a"]["x"]) == ["number_value"]


@pytest.mark.parametrize(
    ("indexes", "content"),
    [(b"\x00", {"body": "a"}), (b"\x02\x00", {"body": "a"}), (b"\x02\x02", {"body": "a"}), (b"\x04\x02\x00", {"text": "a"})],
)
def test_the_indexes_select_the_message(indexes: bytes, content: dict[str, str]) -> None:
    """Zero alone stands for the first message. The entries of maps have no index."""
    text = (
        'syntax = "proto3"; message A { map<string, string> m = 2; string body = 1; }'
        " message B { map<string, string> m = 2; string body = 1; message C { string text = 1; } }"
    )
    found = read(text, indexes + b"\x0a\x01a")
    assert {name: value for name, value in found.items() if name != "m"} == content


def test_the_encodings_of_an_index_share_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value may not add to the memory of its schema."""
    selected, select = list[Any](), MessageConverter.select

    def count(converter: MessageConverter, descriptor: Any) -> Any:
        selected.append(descriptor)
        return select(converter, descriptor)

    monkeypatch.setattr(MessageConverter, "select", count)
    reader = build_protobuf_reader(RegisteredSchema("PROTOBUF", 'syntax = "proto3"; message A { string body = 1; }'))
    for indexes in (b"\x00", b"\x02\x00", b"\x82\x00\x00", b"\x02\x80\x00", b"\x82\x80\x00\x80\x80\x00"):
        assert reader(build_prefix(7) + indexes + b"\x0a\x01a") == {"body": "a"}
    assert len(selected) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the indexes of its message end too early"),
        (b"\xff" * 9, "the indexes of its message end too early"),
        (b"\x01", "the path of its message has -1 indexes"),
        (b"\x7e" + b"\x00" * 99, "the path of its message has 63 indexes"),
        (b"\x02\x10", "the schema has no message at 8"),
        (b"\x02\x01", "the schema has no message at -1"),
        (b"\x00\xff", "its bytes are not this message, or are nested too deeply"),
        (b"\x00\x12\x01\xff", "its bytes are not this message, or are nested too deeply"),
        (b"\x00" + b"\x52\x00" * 300_000, "it has too many fields"),
    ],
)
def test_what_cannot_be_read_names_its_reason(data: bytes, reason: str) -> None:
    """A dead letter never has a value in its reason."""
    with pytest.raises(InvalidRecord) as caught:
        _READ(build_prefix(7) + data)
    assert str(caught.value) == f"the value does not fit the Protobuf schema 7: {reason}"


def test_a_deep_value_is_a_dead_letter() -> None:
    """The parser ends at 100 levels."""
    data = b""
    for _ in range(150):
        size = len(data)
        data = b"\x7a" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + data
    with pytest.raises(InvalidRecord, match="nested too deeply"):
        _READ(build_prefix(7) + b"\x00" + data)


def test_a_value_of_wide_messages_is_bounded_before_it_is_parsed() -> None:
    """Two bytes of a value could take the memory of a thousand fields."""
    fields = " ".join(f"int64 f{number} = {number};" for number in range(1, 1_001))
    text = f'syntax = "proto3"; message A {{ repeated B b = 1; }} message B {{ {fields} }}'
    assert len(read(text, b"\x00\x0a\x00")["b"][0]) == 1_000
    with pytest.raises(InvalidRecord, match="may need more than 1073741824 bytes of memory"):
        read(text, b"\x00" + b"\x0a\x00" * 100_000)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "the parser finds errors of its syntax"),
        ('syntax = "proto3"; message A { Unknown x = 1; }', "couldn't resolve name 'Unknown'"),
        ('syntax = "proto3"; message A { string a = 1; string a = 2; }', "duplicate field name"),
        ("message A { optional group G = 1 { optional int32 x = 1; } }", "it has a group"),
        ('edition = "2023"; message A {}', "it has an edition"),
        ('syntax = "proto9"; message A {}', "Invalid syntax"),
        ("message A { optional int32 a = 99999999999; }", "Value out of range"),
        (f"message A {{ optional int32 {'a' * 257} = 1; }}", "more than 256 characters"),
        ("message A {" * 40 + "}" * 40, "more than 32 levels"),
        ("message A {" * 400 + "}" * 400, "RecursionError"),
        ("message A {}" + " " * 262_144, "more than 262144 characters"),
        ("A" * 1_048_577, "more than 1048576 characters"),
    ],
)
def test_a_schema_beyond_the_bounds_is_refused(text: str, reason: str) -> None:
    """The line names what is wrong."""
    with pytest.raises(InvalidSchema, match=reason):
        read(text, b"\x00")


def test_a_schema_with_too_many_values_is_refused() -> None:
    """The bound counts values of enums, too."""
    file = descriptor_pb2.FileDescriptorProto(syntax="proto3")
    enum = file.enum_type.add(name="E")
    for number in range(20_001):
        enum.value.add(name=f"V{number}", number=number)
    with pytest.raises(InvalidSchema, match="more than 20000"):
        read(base64.b64encode(file.SerializeToString()).decode(), b"\x00")


def test_text_and_id_come_from_a_protobuf_record_and_key() -> None:
    """The mapping has the names of the .proto file."""
    readers = {7: build_value_reader(SCHEMA), 8: build_value_reader(KEY)}
    mapping = InputMapping(text=FieldPath.parse("lines.0.text"), id_source=IdSource.KEY)
    value = frame(new_message(SCHEMA, "Ticket", lines=[{"text": "It works."}]))
    key = build_prefix(8) + b"\x00" + new_message(KEY, "Key", id=17).SerializeToString()
    decode = build_decoder(mapping, limits=Limits(), tasks=frozenset(Task), form=RegisteredForm(readers.get))
    found = decode(Record(Partition("tickets", 0), 3, key, value))
    assert isinstance(found, Item)
    assert (found.id, found.text) == ("17", "It works.")


def test_without_the_package_a_record_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of a worker needs no package for Protobuf."""
    monkeypatch.setitem(sys.modules, "google.protobuf.descriptor_pool", None)
    with pytest.raises(InvalidRecord, match=r"pip install 'gist-stream\[protobuf\]'"):
        build_value_reader(SCHEMA)(build_prefix(7) + b"\x00")
    assert "gist-stream[protobuf]" in str(find_fault(SCHEMA, ["body"]))


@pytest.mark.parametrize(
    "path", ["body", "at", "at.seconds", "price.cents", "lines.0.text", "lines_by_name.a.text", "text", "more.any.x"]
)
def test_a_field_of_the_schema_is_found(path: str) -> None:
    """Every message counts, because the records name theirs."""
    assert find_fault(SCHEMA, path.split(".")) is None


@pytest.mark.parametrize("path", ["nope", "price.nope", "lines.text", "body.x", "at.x"])
def test_a_schema_without_the_text_is_found_before_a_record(path: str) -> None:
    """The line names the fields of the first message."""
    assert str(find_fault(SCHEMA, path.split("."))).startswith(
        f"its latest schema has no field {path}; its fields are: number, body, note, "
    )
