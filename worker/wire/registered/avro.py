"""Compiles Avro schemas to readers of values. Schemas and values are untrusted. Pure.

A schema is copied without defaults and unknown attributes, and refused above bounds of size and depth. Every value of an accepted
schema has at least one byte for each object that is built, so that a small value cannot become a large object.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import InvalidRecord, describe_error
from worker.wire.registered.frame import MAX_SCHEMA_CHARS, NUM_PREFIX_BYTES, InvalidSchema, read_schema_id
from worker.wire.registered.logical_types import find_json_form, register_json_forms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.wire.registered.frame import RegisteredSchema, ValueReader

# The bounds of a schema with its references.
MAX_NODES, MAX_DEPTH = 20_000, 64
# A value repeats the names of fields and the symbols for single bytes; types inherit the namespace.
_MAX_NAME_CHARS, _MAX_TYPE_NAME_CHARS = 256, 1_024
# The bytes of a number with 64 bits.
_MAX_NUMBER_BYTES = 10
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAMED = frozenset({"record", "error", "enum", "fixed"})


def build_avro_reader(schema: RegisteredSchema) -> ValueReader:
    """Return the function that reads values of a schema. Raises `InvalidSchema`, and `ImportError` without fastavro."""
    from fastavro import parse_schema, schemaless_reader  # noqa: PLC0415  an optional dependency

    register_json_forms()
    texts, named, copier = (*schema.references, schema.text), dict[str, Any](), _Copier()
    if sum(map(len, texts)) > MAX_SCHEMA_CHARS:
        raise InvalidSchema(f"the schema has more than {MAX_SCHEMA_CHARS} characters")
    try:
        # A record with one field has the bytes of the field, and a place for named types.
        *_, parsed = [parse_schema(_wrap(copier.copy(text), number), named) for number, text in enumerate(texts)]
    except InvalidSchema:
        raise
    except Exception as error:  # any exception of the parser means a schema that is not Avro's
        raise InvalidSchema(f"it is no valid Avro schema: {type(error).__name__}: {describe_error(error)[:200]}") from error
    walk = _Walk(named)
    walk.measure(parsed, 0)
    # The compiled reader would overflow the stack of the process with a deep value; the other one raises `RecursionError`.
    read_one = _build_recursive_reader(parsed) if walk.is_recursive else lambda stream: schemaless_reader(stream, parsed, None)

    def read(value: bytes) -> Any:
        stream = io.BytesIO(value)
        stream.seek(NUM_PREFIX_BYTES)
        try:
            content: Any = read_one(stream)
        except Exception as error:  # noqa: BLE001  any exception of the reader means bytes that do not fit
            raise InvalidRecord(f"the value does not fit the Avro schema {read_schema_id(value)}: {_describe(error)}") from None
        if left := len(value) - stream.tell():
            raise InvalidRecord(f"the value does not fit the Avro schema {read_schema_id(value)}: it has {left} bytes too many")
        return content["value"]

    return read


def _build_recursive_reader(parsed: Any) -> Callable[[io.BytesIO], Any]:
    """Return the function that reads values of a recursive schema in Python, with numbers of at most 64 bits."""
    from fastavro import parse_schema  # noqa: PLC0415  an optional dependency

    # These modules have no types.
    reader, decoder = import_module("fastavro._read_py"), import_module("fastavro.io.binary_decoder")

    class Decoder(decoder.BinaryDecoder):  # type: ignore[name-defined, misc]
        def read_long(self) -> int:
            """Return the next number. Without a bound, the time would grow with the square of its bytes."""
            number = 0
            for shift in range(0, 7 * _MAX_NUMBER_BYTES, 7):
                byte: bytes = self.fo.read(1)
                if not byte:
                    raise EOFError
                number |= (byte[0] & 0x7F) << shift
                if byte[0] < 0x80:  # noqa: PLR2004  the mark of a further byte
                    number &= 0xFFFF_FFFF_FFFF_FFFF
                    return (number >> 1) ^ -(number & 1)
            raise OverflowError

        read_int = read_long

    named: dict[str, dict[str, Any]] = {"writer": {}, "reader": {}}
    schema = parse_schema(parsed, named["writer"])
    return lambda stream: reader.read_data(Decoder(stream), schema, named)


def _wrap(schema: Any, number: int) -> dict[str, Any]:
    return {"type": "record", "name": f"GistStreamRoot{number}", "fields": [{"name": "value", "type": schema}]}


def _describe(error: Exception) -> str:
    """Return a reason without content of the value, which may be personal data."""
    reasons: dict[type[Exception], str] = {
        EOFError: "it ends too early",
        OverflowError: "a number has more than 64 bits",
        IndexError: "a number of a union or of an enum is out of range",
        RecursionError: "it is nested too deeply",
        UnicodeDecodeError: "a string is not UTF-8",
    }
    return reasons.get(type(error), type(error).__name__)


class _Copier:
    """Copies schemas within bounds that hold for all of them together."""

    def __init__(self) -> None:
        self._num_nodes = 0

    def copy(self, text: str) -> Any:
        """Return the schema in a text, with the attributes that the reader needs."""
        try:
            schema = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidSchema(f"it is not JSON: {error}") from None
        return self._copy(schema, "", 0)

    def _copy(self, schema: Any, namespace: str, depth: int) -> Any:
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES or depth > MAX_DEPTH:
            raise InvalidSchema(f"the schema has more than {MAX_NODES} types, or more than {MAX_DEPTH} levels")
        if isinstance(schema, list):
            return [self._copy(branch, namespace, depth + 1) for branch in schema]
        if isinstance(schema, str):
            return schema if schema in _PRIMITIVES or "." in schema or not namespace else f"{namespace}.{schema}"
        if not isinstance(schema, dict):
            raise InvalidSchema("a type is neither a name nor an object nor a list")
        kind = schema.get("type")
        if not isinstance(kind, str):
            return self._copy(kind, namespace, depth + 1)
        if kind in _NAMED:
            return self._copy_named(schema, kind, namespace, depth)
        if kind in {"array", "map"}:
            inner = "items" if kind == "array" else "values"
            return {"type": kind, inner: self._copy(schema.get(inner), namespace, depth + 1)}
        form = find_json_form(schema)
        return {"type": kind, **form} if form and kind in _PRIMITIVES else self._copy(kind, namespace, depth + 1)

    def _copy_named(self, schema: Mapping[str, Any], kind: str, namespace: str, depth: int) -> dict[str, Any]:
        name, given = schema.get("name"), schema.get("namespace")
        if not isinstance(name, str):
            raise InvalidSchema(f"a type {kind} has no name")
        if "." not in name:
            space = given if isinstance(given, str) else namespace
            name = f"{space}.{name}" if space else name
        if len(name) > _MAX_TYPE_NAME_CHARS:
            raise InvalidSchema(f"a name of a type has more than {_MAX_TYPE_NAME_CHARS} characters")
        copied: dict[str, Any] = {"type": kind, "name": name}
        if kind == "enum":
            _check_names(symbols := schema.get("symbols"), "symbols", name)
            return copied | {"symbols": symbols}
        if kind == "fixed":
            size = schema.get("size")
            if not isinstance(size, int) or size < 1:
                raise InvalidSchema(f"the size of {name} is not a positive number")
            return copied | {"size": size} | find_json_form(schema)
        fields = schema.get("fields")
        if not isinstance(fields, list) or not all(
            isinstance(field, dict) and isinstance(field.get("name"), str) for field in fields
        ):
            raise InvalidSchema(f"the fields of {name} are not a list of objects with names")
        _check_names([field["name"] for field in fields], "fields", name)
        inner = name.rpartition(".")[0]
        return copied | {
            "fields": [{"name": field.get("name"), "type": self._copy(field.get("type"), inner, depth + 1)} for field in fields]
        }


def _check_names(names: Any, kind: str, owner: str) -> None:
    """Raise `InvalidSchema` unless the names of fields or symbols are a list of short texts."""
    if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= _MAX_NAME_CHARS for name in names):
        raise InvalidSchema(f"the {kind} of {owner} are not a list of names of at most {_MAX_NAME_CHARS} characters")


class _Walk:
    """Measures a parsed schema, whose names are whole."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        # The levels below each record; None while the record is measured.
        self._depths: dict[str, int | None] = {}
        self.is_recursive = False

    def measure(self, schema: Any, depth: int) -> int:
        """Return the levels of values below a type. Raises `InvalidSchema` for types without bytes, and above the bound."""
        if depth > 2 * MAX_DEPTH:
            raise InvalidSchema(f"its values have more than {2 * MAX_DEPTH} levels")
        if isinstance(schema, str):
            return 0 if schema in _PRIMITIVES else self.measure(self._named[schema], depth)
        if isinstance(schema, list):
            return 1 + max((self.measure(branch, depth + 1) for branch in schema), default=0)
        kind = schema["type"]
        if kind in {"array", "map"}:
            inner = schema["items"] if kind == "array" else schema["values"]
            self._check_bytes(inner)
            return 1 + self.measure(inner, depth + 1)
        return self._measure_record(schema, depth) if kind in {"record", "error"} else 0

    def _measure_record(self, schema: Mapping[str, Any], depth: int) -> int:
        name = schema["name"]
        if name in self._depths:
            found = self._depths[name]
            self.is_recursive |= found is None
            if found is not None and depth + found > 2 * MAX_DEPTH:
                raise InvalidSchema(f"its values have more than {2 * MAX_DEPTH} levels")
            return found or 0
        self._depths[name] = None
        for field in schema["fields"]:
            self._check_bytes(field["type"])
        found = 1 + max((self.measure(field["type"], depth + 1) for field in schema["fields"]), default=0)
        self._depths[name] = found
        return found

    def _check_bytes(self, schema: Any) -> None:
        """Refuse a value without bytes. In a union it costs the byte of its number."""
        schema = self._named.get(schema, schema) if isinstance(schema, str) else schema
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind == "null" or (isinstance(schema, dict) and schema.get("fields") == []):
            raise InvalidSchema("it has values without bytes: null and a record without fields are read in a union only")
