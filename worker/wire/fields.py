"""The names of the fields that records have: what tells an operator which shape arrived. Names only, never a value. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import orjson

from worker.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from worker.records import EmptyRange, UnreadableRange

_MAX_NAMES = 10
_MAX_NAME_CHARS = 40
# A huge value is not parsed for its names.
_MAX_VALUE_BYTES = 65_536


def describe_fields(sources: Iterable[Record | UnreadableRange | EmptyRange]) -> str:
    """Return a phrase that names the fields of JSON objects, the most frequent first; `payload.text` is a field of an object."""
    counts: Counter[str] = Counter()
    for source in sources:
        counts.update(_names(source))
    if not counts:
        return "no value was a JSON object"
    names = [_shown(name) for name, _ in counts.most_common(_MAX_NAMES)]
    rest = len(counts) - len(names)
    return "fields seen: " + ", ".join(names) + (f" and {rest} more" if rest else "")


def _names(source: Record | UnreadableRange | EmptyRange) -> Iterator[str]:
    if not isinstance(source, Record) or source.value is None or len(source.value) > _MAX_VALUE_BYTES:
        return
    try:
        fields = orjson.loads(source.value)
    except orjson.JSONDecodeError:
        return
    if isinstance(fields, dict):
        for name, value in fields.items():
            yield name
            if isinstance(value, dict):
                yield from (f"{name}.{inner}" for inner in value)


def _shown(name: str) -> str:
    """Return a name that fits in a line: short, and without control characters."""
    short = name if len(name) <= _MAX_NAME_CHARS else name[: _MAX_NAME_CHARS - 1] + "…"
    return short if short.isprintable() and short.strip() else repr(short)
