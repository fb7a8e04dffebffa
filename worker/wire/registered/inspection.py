"""Looks for a field in a registered schema, before a record is read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from worker.wire.registered.avro import build_avro_reader
from worker.wire.registered.frame import InvalidSchema
from worker.wire.registered.proto_values import JSON_VALUES, is_map
from worker.wire.registered.protobuf import build_file, list_messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.wire.registered.frame import RegisteredSchema

_MAX_NAMES = 10
# The field of Debezium's envelope that has the row.
_ROW = "after"


def find_fault(schema: RegisteredSchema, path: Sequence[str]) -> str | None:
    """Return why a worker cannot read texts of a schema, in one line; None if the schema has the field or may have it."""
    if schema.type == "JSON":
        return None
    find = {"AVRO": _find_avro_fault, "PROTOBUF": _find_protobuf_fault}.get(schema.type)
    if find is None:
        return f"its latest schema is of type {schema.type!r}; AVRO, JSON and PROTOBUF are read"
    try:
        return find(schema, path)
    except InvalidSchema as error:
        return f"its latest schema is not read: {error}"
    except ImportError:
        return f"its latest schema needs a package: pip install 'gist-stream[{schema.type.lower()}]'"


def _find_avro_fault(schema: RegisteredSchema, path: Sequence[str]) -> str | None:
    build_avro_reader(schema)
    named: dict[str, Any] = {}
    roots = [orjson.loads(text) for text in (*schema.references, schema.text)]
    for root in roots:
        _collect_names(root, named)
    if not path or _has_field(roots[-1], path, named) or _has_field(roots[-1], (_ROW, *path), named):
        return None
    return _describe_missing(path, list(_list_fields(roots[-1], named)))


def _find_protobuf_fault(schema: RegisteredSchema, path: Sequence[str]) -> str | None:
    """Look in every message, because the records name theirs."""
    messages = waiting = list_messages(build_file(schema))
    while waiting:
        waiting = [nested for message in waiting for nested in list_messages(message)]
        messages = messages + waiting
    if not path or any(_has_member(message, part) for message in messages for part in (path, (_ROW, *path))):
        return None
    return _describe_missing(path, [field.name for message in messages[:1] for field in message.fields])


def _has_member(message: Any, path: Sequence[str]) -> bool:
    """Return whether a message of Protobuf has a field; a message that is a JSON value may have any."""
    if message is None or message.full_name in JSON_VALUES:
        return message is not None
    field, rest = message.fields_by_name.get(path[0]), path[1:]
    if field is None or not rest:
        return field is not None
    if is_map(field):
        inner = field.message_type.fields_by_name["value"].message_type
        return len(rest) == 1 or _has_member(inner, rest[1:])
    if field.is_repeated:
        return rest[0].isdecimal() and (len(rest) == 1 or _has_member(field.message_type, rest[1:]))
    return _has_member(field.message_type, rest)


def _describe_missing(path: Sequence[str], names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES]) + (f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else "")
    return f"its latest schema has no field {'.'.join(path)}; its fields are: {shown or 'none'}"


def _collect_names(schema: Any, named: dict[str, Any]) -> None:
    """Add the named types of an accepted schema, by the last part of their names."""
    if isinstance(schema, list):
        for branch in schema:
            _collect_names(branch, named)
    elif isinstance(schema, dict):
        if "name" in schema and "type" in schema:
            named.setdefault(str(schema["name"]).rpartition(".")[2], schema)
        for part in ("type", "items", "values", "fields"):
            _collect_names(schema.get(part), named)


def _find_branches(schema: Any, named: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the types that a value of a schema may have, without primitive ones."""
    if isinstance(schema, str):
        schema = named.get(schema.rpartition(".")[2])
    if isinstance(schema, list):
        for branch in schema:
            yield from _find_branches(branch, named)
    elif isinstance(schema, dict) and isinstance(schema.get("type"), dict | list):
        yield from _find_branches(schema["type"], named)
    elif isinstance(schema, dict):
        yield schema


def _has_field(schema: Any, path: Sequence[str], named: Mapping[str, Any]) -> bool:
    if not path:
        return True
    for branch in _find_branches(schema, named):
        if branch["type"] == "map" and _has_field(branch.get("values"), path[1:], named):
            return True
        if branch["type"] == "array" and path[0].isdecimal() and _has_field(branch.get("items"), path[1:], named):
            return True
        if any(field["name"] == path[0] and _has_field(field["type"], path[1:], named) for field in branch.get("fields", ())):
            return True
    return False


def _list_fields(schema: Any, named: Mapping[str, Any]) -> Iterator[str]:
    for branch in _find_branches(schema, named):
        yield from (str(field["name"]) for field in branch.get("fields", ()))
