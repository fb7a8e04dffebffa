"""Reads the id of a record from its key. Pure."""

from __future__ import annotations

import orjson

from worker.errors import InvalidRecord


def read_key_id(key: bytes | None) -> str:
    """Return the id in a key: its text; of a JSON object its only value, or the whole object. Raises `InvalidRecord`.

    A single value must be a string or an integer: null, or a number that became inexact, would be the id of several records.
    """
    if key is None:
        raise InvalidRecord("the record has no key, and GIST_ID_FROM=key takes the id from the key")
    try:
        text = key.decode()
    except UnicodeDecodeError:
        raise InvalidRecord("the key is not UTF-8, and GIST_ID_FROM=key takes the id from the key") from None
    if not text.startswith(("{", '"')):
        return text
    try:
        value = orjson.loads(key)
    except orjson.JSONDecodeError:
        return text
    return select_key_id(value)


def select_key_id(value: object) -> str:
    """Return the id in the content of a key. Raises `InvalidRecord`."""
    if isinstance(value, dict) and value.keys() == {"schema", "payload"}:
        value = value["payload"]
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if value is None or isinstance(value, float | bytes):
        kinds = {float: "a number with a fraction, or beyond 64 bits", bytes: "bytes"}
        raise InvalidRecord(f"the value in the key must be a string or an integer, not {kinds.get(type(value), 'null')}")
    try:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise InvalidRecord("the key is nested too deeply for an id, or has bytes in it") from None
