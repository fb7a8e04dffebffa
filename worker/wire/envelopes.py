"""Unwraps the envelopes of Kafka Connect and of Debezium. Pure.

Kafka Connect    {"schema": …, "payload": <row>}
Debezium         {"before": <row>, "after": <row>, "source": …, "op": "u", …}, alone or as the payload of Kafka Connect
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from worker.errors import InvalidRecord
from worker.wire.content import name_json_type

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECT_FIELDS = frozenset({"schema", "payload"})
# Create, read (a snapshot) and update have a row.
_ROW_OPERATIONS = frozenset("cru")
_DELETE = "d"
# Events without a row, by operation: the reason for which the record is skipped.
_SKIPPED_OPERATIONS = {"t": "truncate", "m": "message"}
_OPERATIONS = _ROW_OPERATIONS | {_DELETE} | _SKIPPED_OPERATIONS.keys()
#: Debezium's value of a column that an update did not change and that the event therefore does not have.
UNAVAILABLE = "__debezium_unavailable_value"


class Envelope(StrEnum):
    """The envelopes that a record may have."""

    AUTO = "auto"
    NONE = "none"
    CONNECT = "connect"
    DEBEZIUM = "debezium"


class Change(NamedTuple):
    """The content of an envelope."""

    #: The row, or its single value.
    row: Any = None
    #: The row before an update; None if the event does not have the row.
    before: Mapping[str, Any] | None = None
    #: Whether the row was deleted.
    is_delete: bool = False
    #: The reason to skip the record; None if there is a row.
    skip_reason: str | None = None


def wrap(fields: Mapping[str, Any], envelope: Envelope) -> Mapping[str, Any]:
    """Return a record with these fields that a worker with this envelope reads."""
    if envelope is Envelope.CONNECT:
        return {"schema": None, "payload": fields}
    return {"before": None, "after": fields, "op": "c"} if envelope is Envelope.DEBEZIUM else fields


def unwrap(fields: Mapping[str, Any], envelope: Envelope) -> Change | None:
    """Return the change in a record; None for a record without an envelope.

    Raises `InvalidRecord` if `envelope` names an envelope and the record has another form.
    """
    if envelope is Envelope.NONE:
        return None
    inner = fields["payload"] if fields.keys() == _CONNECT_FIELDS else fields
    if envelope is not Envelope.CONNECT and isinstance(inner, dict) and _is_debezium(inner):
        return _read_change(inner)
    if inner is None:
        # A null value that the converter has wrapped.
        return Change(is_delete=True)
    if envelope is Envelope.DEBEZIUM:
        raise InvalidRecord(
            "the record is no change event of Debezium: `op`, and one of `source`, `before` and `after`, are missing"
        )
    if inner is not fields:
        if not isinstance(inner, dict | str):
            raise InvalidRecord(f"`payload` must be an object or a string, not {name_json_type(inner)}")
        return Change(inner)
    if envelope is Envelope.CONNECT:
        raise InvalidRecord("the record has no envelope of Kafka Connect: an object with the fields `schema` and `payload` only")
    return None


def _is_debezium(fields: Mapping[str, Any]) -> bool:
    operation = fields.get("op")
    # The source of a change event is an object. Any record may have a string of this name.
    has_event = "after" in fields or "before" in fields or isinstance(fields.get("source"), dict)
    return isinstance(operation, str) and operation in _OPERATIONS and has_event


def _read_change(event: Mapping[str, Any]) -> Change:
    operation = event["op"]
    if operation == _DELETE:
        return Change(is_delete=True)
    if reason := _SKIPPED_OPERATIONS.get(operation):
        return Change(skip_reason=reason)
    return Change(_read_row(event.get("after"), "after") or {}, _read_row(event.get("before"), "before"))


def _read_row(row: object, name: str) -> Mapping[str, Any] | None:
    """Return a row of a change event. The connector for MongoDB writes a document as JSON in a string."""
    if row is None or isinstance(row, dict):
        return row
    if isinstance(row, str):
        try:
            row = orjson.loads(row)
        except orjson.JSONDecodeError as error:
            raise InvalidRecord(f"`{name}` is not JSON: {error}") from None
        if isinstance(row, dict):
            return row
    raise InvalidRecord(f"`{name}` must be an object, not {name_json_type(row)}")
