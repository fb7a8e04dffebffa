"""Lists the names of the fields in records, so that an operator sees which format arrived. Values are never shown. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from worker.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from worker.records import EmptyRange, UnreadableRange

_MAX_NAMES = 10
_MAX_NAME_CHARS = 40
# Larger values are not parsed.
_MAX_VALUE_BYTES = 65_536


def describe_fields(sources: Iterable[Record | UnreadableRange | EmptyRange]) -> str:
    """Return a phrase with the fields of JSON objects, the most frequent first. `payload.text` is a field of a nested object."""
    return describe_names(map(_read_object, sources))


def describe_names(objects: Iterable[Mapping[str, Any]]) -> str:
    """Return a phrase with the fields of objects, the most frequent first. `payload.text` is a field of a nested object."""
    counts: Counter[str] = Counter()
    for fields in objects:
        counts.update(_list_names(fields))
    if not counts:
        return "no value was a JSON object"
    names = [_shorten(name) for name, _ in counts.most_common(_MAX_NAMES)]
    rest = len(counts) - len(names)
    return "fields seen: " + ", ".join(names) + (f" and {rest} more" if rest else "")


def _read_object(source: Record | UnreadableRange | EmptyRange) -> Mapping[str, Any]:
    """Return the JSON object in a record; an empty one if there is none."""
    if not isinstance(source, Record) or source.value is None or len(source.value) > _MAX_VALUE_BYTES:
        return {}
    try:
        fields = orjson.loads(source.value)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _list_names(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)


def _shorten(name: str) -> str:
    """Return a name of at most 40 characters without control characters."""
    short = name if len(name) <= _MAX_NAME_CHARS else name[: _MAX_NAME_CHARS - 1] + "…"
    return short if short.isprintable() and short.strip() else repr(short)
