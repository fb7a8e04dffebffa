"""Avro: what fastavro writes is read as it was, hostile schemas are refused, and hostile values are dead letters."""

from __future__ import annotations

import contextlib
import io
import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import InvalidRecord
from worker.wire.registered.avro import build_avro_reader
from worker.wire.registered.frame import InvalidSchema, RegisteredSchema, build_prefix, read_schema_id

_INTS, _LONGS = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
_PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": _INTS,
    "long": _LONGS,
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
}


def write(schema: Any, value: Any, *references: Any) -> bytes:
    """Return a registered value that fastavro wrote."""
    stream, named = io.BytesIO(), dict[str, Any]()
    for reference in references:
        parse_schema(reference, named)
    # A record with one field has the bytes of the field, and carries the named types.
    schemaless_writer(stream, parse_schema(record("Root", value=schema), named), {"value": value})
    return build_prefix(7) + stream.getvalue()


def read(schema: Any, value: bytes, *references: Any) -> Any:
    """Read a registered value."""
    return build_avro_reader(RegisteredSchema("AVRO", json.dumps(schema), tuple(map(json.dumps, references))))(value)


def record(name: str, **fields: Any) -> dict[str, Any]:
    """Return the schema of a record."""
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields.items()]}


@st.composite
def schemas_and_values(draw: st.DrawFn, depth: int = 0) -> tuple[Any, Any]:
    """Return a schema and a value that fits it."""
    kind = draw(st.sampled_from([*_PRIMITIVES, "enum", "array", "map", "union", "record"] if depth < 3 else list(_PRIMITIVES)))
    if kind in _PRIMITIVES:
        return kind, draw(_PRIMITIVES[kind])
    name = f"N{draw(st.uuids()).hex}"
    if kind == "enum":
        symbols = draw(st.lists(st.sampled_from("ABCDEF"), min_size=1, unique=True))
        return {"type": "enum", "name": name, "symbols": symbols}, draw(st.sampled_from(symbols))
    parts = draw(st.lists(schemas_and_values(depth + 1), min_size=1, max_size=3))
    schema, value = parts[0]
    if kind == "array":
        return {"type": "array", "items": schema}, [value] * draw(st.integers(0, 3))
    if kind == "map":
        return {"type": "map", "values": schema}, dict.fromkeys(draw(st.lists(st.text(max_size=5), max_size=3)), value)
    if kind == "union":
        # A union has no union in it.
        return (schema, value) if isinstance(schema, list) else (["null", schema], draw(st.sampled_from([None, value])))
    fields = {f"f{number}": part for number, (part, _) in enumerate(parts)}
    return record(name, **fields), {f"f{number}": part for number, (_, part) in enumerate(parts)}


@settings(max_examples=60)
@given(schemas_and_values())
def test_a_value_is_read_as_it_was_written(given_pair: tuple[Any, Any]) -> None:
    """The content equals the value of the producer, for any schema."""
    schema, value = given_pair
    assert read(schema, write(schema, value)) == value


@settings(max_examples=60)
@given(schemas_and_values(), st.binary(max_size=60))
def test_bytes_that_do_not_fit_raise_invalid_record_only(given_pair: tuple[Any, Any], data: bytes) -> None:
    """Random bytes, and the beginning of a value, are read or refused; no other exception leaves the reader."""
    schema, value = given_pair
    whole = write(schema, value)
    for hostile in (build_prefix(7) + data, whole[:-1] if len(whole) > 5 else whole, whole + data):
        with contextlib.suppress(InvalidRecord):
            read(schema, hostile)


_ATTRIBUTES = ["type", "name", "fields", "items", "values", "symbols", "size", "logicalType", "scale", "namespace"]
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.sampled_from(["record", "array", "map", "enum", "fixed", "int", "null", "R"])
)


@settings(max_examples=60)
@given(st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_ATTRIBUTES), inner)))
def test_a_hostile_schema_is_read_or_refused(schema: Any) -> None:
    """JSON of any form is a schema or raises `InvalidSchema`."""
    with contextlib.suppress(InvalidSchema, InvalidRecord):
        read(schema, build_prefix(7))


def test_dates_times_and_decimals_have_json_forms() -> None:
    """Text of ISO 8601 and decimal digits; a number that is no date stays a number, and bytes stay bytes."""
    schema = record(
        "R",
        day={"type": "int", "logicalType": "date"},
        at={"type": "long", "logicalType": "timestamp-millis"},
        clock={"type": "int", "logicalType": "time-millis"},
        local={"type": "long", "logicalType": "local-timestamp-micros"},
        price={"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2},
        infinite="long",
        raw="bytes",
        uuid={"type": "string", "logicalType": "uuid"},
    )
    moment = datetime(2026, 11, 30, 14, 5, 6, 123000, UTC)
    row = {
        "day": moment.date(), "at": moment, "clock": moment.time(), "local": moment.replace(tzinfo=None), "price": Decimal("-0.50"),
        "infinite": 2**63 - 1, "raw": b"\xff", "uuid": "8c7d0b5e-2f6a-4a57-9c0e-0d6d3f7f7a11",
    }  # fmt: skip
    # The producer writes the number as a timestamp that no calendar has.
    value = write(schema, row)
    schema["fields"][5]["type"] = {"type": "long", "logicalType": "timestamp-micros"}
    assert read(schema, value) == {
        "day": "2026-11-30",
        "at": "2026-11-30T14:05:06.123000+00:00",
        "clock": "14:05:06.123000",
        "local": "2026-11-30T14:05:06.123000",
        "price": "-0.50",
        "infinite": 2**63 - 1,
        "raw": b"\xff",
        "uuid": row["uuid"],
    }


@given(st.binary(min_size=1, max_size=80), st.integers(0, 40))
def test_a_decimal_is_its_digits(content: bytes, scale: int) -> None:
    """The string has the value of the bytes; a number of more than 64 bytes stays bytes."""
    schema = record("R", price={"type": "bytes", "logicalType": "decimal", "precision": 1, "scale": scale})
    found = read(schema, write(record("R", price="bytes"), {"price": content}))["price"]
    if len(content) > 64:
        assert found == content
    else:
        assert int(found.replace(".", "")) == int.from_bytes(content, signed=True)
        assert len(found.partition(".")[2]) == scale


def test_referenced_schemas_define_names() -> None:
    """A union of referenced records, as a topic with several events has, and a field of a referenced type."""
    address = {**record("Address", city="string"), "namespace": "shop"}
    person = {**record("Person", home="Address"), "namespace": "shop"}
    value = write(["null", "shop.Person"], {"home": {"city": "Paris"}}, address, person)
    assert read(["null", "shop.Person"], value, address, person) == {"home": {"city": "Paris"}}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "array", "items": "null"}, "values without bytes"),
        (record("R", nothing="null"), "values without bytes"),
        (record("R", inner=record("E")), "values without bytes"),
        ({"type": "fixed", "name": "F", "size": 0}, "not a positive number"),
        ("shop.Unknown", "UnknownType"),
        (record("R", **{f"f{number}": "int" for number in range(20_001)}), "more than 20000 types"),
        (record("R", a="string") | {"doc": "x" * 1_048_577}, "more than 1048576 characters"),
        (json.loads('{"type":"array","items":' * 70 + '"int"' + "}" * 70), "more than 64 levels"),
    ],
)
def test_a_schema_beyond_the_bounds_is_refused(schema: Any, reason: str) -> None:
    """Values without bytes could make gigabytes of a small record; the other bounds hold time and memory."""
    with pytest.raises(InvalidSchema, match=reason):
        read(schema, b"")


def test_a_chain_of_named_records_is_bounded() -> None:
    """The depth counts through names, which the text of a schema does not show."""
    chain: dict[str, Any] = {"b0": record("B0", x="int")}
    chain |= {f"b{number}": record(f"B{number}", inner=f"B{number - 1}") for number in range(1, 200)}
    with pytest.raises(InvalidSchema, match="128 levels"):
        read(record("R", **chain), b"")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["A" * 257]}},
        {"type": "enum", "name": "E", "symbols": "AB"},
        {"type": "array", "items": record("R", **{"a" * 257: "int"})},
        record("R", **{f"field{number}": record(f"R{number}", value="int") for number in range(3)}) | {"namespace": "n" * 1_024},
    ],
)
def test_long_names_are_refused(schema: Any) -> None:
    """A value of a kilobyte could else become JSON of a gigabyte, and a schema could repeat its namespace for each type."""
    with pytest.raises(InvalidSchema, match="characters"):
        build_avro_reader(RegisteredSchema("AVRO", json.dumps(schema)))


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_a_recursive_schema_reads_numbers_of_64_bits_and_refuses_longer_ones(number: int) -> None:
    """A number without a bound takes time that grows with the square of its bytes."""
    schema = record("Node", number="long", next=["null", "Node"])
    assert read(schema, write(schema, {"number": number, "next": None})) == {"number": number, "next": None}
    with pytest.raises(InvalidRecord, match="more than 64 bits"):
        read(schema, build_prefix(7) + b"\xff" * 4_000 + b"\x01\x00")


def test_a_recursive_schema_is_read_to_a_bounded_depth() -> None:
    """A comment with answers is read; a value of a million levels is a dead letter and no crash."""
    schema = record("Comment", text="string", answers={"type": "array", "items": "Comment"})
    value = {"text": "a", "answers": [{"text": "b", "answers": []}]}
    assert read(schema, write(schema, value)) == value
    chain = record("Node", next=["null", "Node"])
    with pytest.raises(InvalidRecord, match="nested too deeply"):
        read(chain, build_prefix(7) + b"\x02" * 1_000_000)


def test_a_large_count_costs_no_memory() -> None:
    """An array of 2^62 items, and a string of 2^62 bytes, end at the end of the value."""
    huge = b"\xfe" + b"\xff" * 7 + b"\x7f"
    for kind in ({"type": "array", "items": "int"}, {"type": "map", "values": "int"}, "string", "bytes"):
        with pytest.raises(InvalidRecord, match="does not fit the Avro schema 7: it ends too early"):
            read(kind, build_prefix(7) + huge)


def test_bytes_after_the_end_are_refused() -> None:
    """The schema of the id is another one than that of the writer."""
    with pytest.raises(InvalidRecord, match="it has 2 bytes too many"):
        read("string", write("string", "text") + b"ab")


def test_a_number_that_is_not_finite_is_a_number() -> None:
    """JSON has no such number; the layouts write null."""
    assert math.isnan(read("double", write("double", math.nan)))


def test_the_prefix_has_the_id() -> None:
    """A value that is shorter, or begins with another byte, has none."""
    assert read_schema_id(build_prefix(2**32 - 1)) == 2**32 - 1
    assert read_schema_id(b"\x00\x00\x00\x01") is None
    assert read_schema_id(b'{"text": "a"}') is None
    assert read_schema_id(None) is None
