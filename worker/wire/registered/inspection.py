"""Looks for a field in a registered schema, before a record is read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from worker.wire.registered.avro import build_avro_reader
from worker.wire.registered.frame import InvalidSchema

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
    if schema.type != "AVRO":
        return f"its latest schema is of type {schema.type!r}; AVRO and JSON are read"
    try:
        build_avro_reader(schema)
    except InvalidSchema as error:
        return f"its latest schema is not read: {error}"
    named: dict[str, Any] = {}
    roots = [orjson.loads(text) for text in (*schema.references, schema.text)]
    for root in roots:
        _collect_names(root, named)
    if not path or _has_field(roots[-1], path, named) or _has_field(roots[-1], (_ROW, *path), named):
        return None
    names = list(_list_fields(roots[-1], named))
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
