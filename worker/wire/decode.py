"""Decodes input records. Pure.

The result is an `Item`, a `Tombstone` or `InvalidRecord` with a reason for the producer. The parser accepts strict JSON
only: no NaN, no infinities, no lone surrogates, no nesting beyond 1,024, no numbers that overflow. The last of several
equal keys counts.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import InvalidRecord
from worker.records import Item, Task, Tombstone
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.records import Headers, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest valid record."""

    max_message_bytes: int = 1_048_576
    max_headers: int = 32
    #: Names and values together.
    max_headers_bytes: int = 16_384
    max_id_chars: int = 256
    max_text_chars: int = 1_000_000
    #: The longest part of a payload in a dead letter.
    max_dead_letter_payload_bytes: int = 262_144


_CLOUDEVENTS_VERSION = "1.0"
_JSON_TYPES = ("application/json", "text/json")
# The headers that a replay adds: the number of the attempt, and the task to repeat if a single task had failed.
ATTEMPT_HEADER, REPLAY_TASK_HEADER = "gist-attempt", "gist-replay-task"
REPLAY_HEADERS = frozenset({ATTEMPT_HEADER, REPLAY_TASK_HEADER})
_MAX_DIGITS = 9
# Longer than the name of any task and any number of attempts.
_MAX_REPLAY_VALUE_BYTES = 16
# ASCII is valid UTF-8.
_CHARSETS = ("utf-8", "utf8", "us-ascii")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Any character except white space, controls, default-ignorable characters of Unicode (joiners, byte order marks,
# variation selectors,
# soft hyphens, fillers, tags), the marks of interlinear annotation and the blank of Braille.
VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def decode(record: Record, *, limits: Limits, tasks: frozenset[Task]) -> Item | Tombstone:
    """Decode a record. `tasks` are the tasks of the worker, and the default of a record that selects none.

    Raises `InvalidRecord` and no other exception.
    """
    headers = _check_headers(record, limits)
    if record.value is None:
        if record.key is None:
            raise InvalidRecord("a tombstone needs a key: without one it deletes nothing")
        return Tombstone(record)
    if len(record.value) > limits.max_message_bytes:
        raise InvalidRecord(f"the value has {len(record.value)} bytes; at most {limits.max_message_bytes} are read")
    request = read_request(record.value, headers)
    selected = request.get("tasks")
    if selected is None and "tasks" in headers:
        selected = _read_names(headers, "tasks")
    return Item(
        record=record,
        id=_check_id(request.get("id"), record, limits),
        text=_check_text(request.get("text"), limits),
        tasks=_restrict_to_replay(_check_tasks(selected, tasks), headers),
    )


def read_attempts(headers: Headers) -> int:
    """Return the number of the attempt: 1, or the value in the header of a replay."""
    written = read_headers(headers).get(ATTEMPT_HEADER, b"")
    return max(1, int(written)) if written.isdigit() and len(written) <= _MAX_DIGITS else 1


def read_id(record: Record) -> str:
    """Return the id of a record, which may be invalid or cut; the default id if the record's own id is not readable."""
    headers = read_headers(record.headers)
    try:
        identity = read_request(record.value or b"", headers).get("id")
    except InvalidRecord:
        identity = headers["ce_id"].decode(errors="replace") if {"ce_specversion", "ce_id"} <= headers.keys() else None
    return identity if isinstance(identity, str) else f"{record.partition}-{record.offset}"


def count_replay_bytes(headers: Headers) -> int:
    """Return the bytes of the headers that a replay has added. They do not count towards the limits of the record."""
    added = read_headers(headers)
    return sum(
        len(name) + len(added[name]) for name in REPLAY_HEADERS & added.keys() if len(added[name]) <= _MAX_REPLAY_VALUE_BYTES
    )


def _restrict_to_replay(asked: frozenset[Task], headers: Mapping[str, bytes]) -> frozenset[Task]:
    """Return the tasks to repeat. The other tasks of a replayed record succeeded before."""
    if REPLAY_TASK_HEADER not in headers:
        return asked
    due = set(_read_names(headers, REPLAY_TASK_HEADER))
    if not asked & due:
        names = _shorten(",".join(sorted(due)))
        raise InvalidRecord(f"the record requests none of the tasks to repeat, or they are not served here: {names}")
    return asked & due


def _check_headers(record: Record, limits: Limits) -> dict[str, bytes]:
    """Return the values of the headers by name. Raises `InvalidRecord` if the headers are too many or too large."""
    # The headers that a replay adds do not count towards the limit.
    num_added = len(REPLAY_HEADERS & {name for name, _ in record.headers})
    if len(record.headers) - num_added > limits.max_headers:
        raise InvalidRecord(f"the record has {len(record.headers)} headers; at most {limits.max_headers} are taken")
    num_bytes = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    num_bytes -= count_replay_bytes(record.headers)
    if num_bytes > limits.max_headers_bytes:
        raise InvalidRecord(f"the headers have {num_bytes} bytes; at most {limits.max_headers_bytes} are taken")
    return read_headers(record.headers)


def _read_text(headers: Mapping[str, bytes], name: str) -> str:
    try:
        return headers[name].decode()
    except UnicodeDecodeError:
        raise InvalidRecord(f"the header {name!r} is not UTF-8") from None


def _read_names(headers: Mapping[str, bytes], name: str) -> list[str]:
    """Return the names in a header. Empty names, as after a trailing comma, are ignored."""
    return [stripped for part in _read_text(headers, name).split(",") if (stripped := part.strip())]


def read_request(value: bytes, headers: Mapping[str, bytes]) -> Mapping[str, Any]:
    """Return the fields of a record: its object, or text and id of a plain text or an event. Raises `InvalidRecord`."""
    content_type, charset = _parse_content_type(_read_text(headers, "content-type")) if "content-type" in headers else ("", "utf-8")
    if content_type.startswith("application/cloudevents"):
        if content_type != "application/cloudevents+json":
            raise InvalidRecord(
                f"the content type {_shorten(content_type)} is not read; of CloudEvents, application/cloudevents+json is"
            )
        return _read_structured_event(_parse_object(value))
    if "ce_specversion" in headers:
        return _read_binary_event(value, headers, content_type, charset)
    if content_type == "text/plain":
        return {"text": _decode_plain_text(value, charset)}
    fields = _parse_object(value)
    return _read_structured_event(fields) if "specversion" in fields and "text" not in fields else fields


def _parse_content_type(header: str) -> tuple[str, str]:
    """Return the media type and the charset, in lower case."""
    media_type, *parameters = (part.strip().lower() for part in header.split(";"))
    charsets = [value.removeprefix("charset=").strip('"') for value in parameters if value.startswith("charset=")]
    return media_type, charsets[0] if charsets else "utf-8"


def _decode_plain_text(value: bytes, charset: str) -> str:
    if charset not in _CHARSETS:
        raise InvalidRecord(f"plain text must be UTF-8, not {_shorten(charset)}")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"the text is not UTF-8: byte {error.start} is {value[error.start]:#04x}") from None


def _parse_object(value: bytes) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"the value is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidRecord(f"the value must be a JSON object with a `text`, not {_name_json_type(parsed)}")
    return parsed


def _read_structured_event(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request in a structured CloudEvent: one JSON object with attributes and data."""
    _check_version(event.get("specversion"))
    data = event.get("data")
    if data is None and "data_base64" in event:
        content_type = event.get("datacontenttype", "application/json")
        if not isinstance(content_type, str):
            raise InvalidRecord(f"the event's datacontenttype must be a string, not {_name_json_type(content_type)}")
        data = _read_event_data(_decode_base64(event["data_base64"]), *_parse_content_type(content_type))
    return _add_event_id(data, event.get("id"))


def _read_binary_event(value: bytes, headers: Mapping[str, bytes], content_type: str, charset: str) -> Mapping[str, Any]:
    """Return the request in a binary CloudEvent: the attributes are headers, and the data is the value."""
    _check_version(_read_text(headers, "ce_specversion"))
    event_id = _read_text(headers, "ce_id") if "ce_id" in headers else None
    data = _read_event_data(value, content_type, charset)
    # Some producers send a structured event in a binary event.
    if isinstance(data, dict) and "specversion" in data and "text" not in data:
        data = _read_structured_event(data)
    return _add_event_id(data, event_id)


def _read_event_data(value: bytes, content_type: str, charset: str) -> object:
    if content_type == "text/plain":
        return _decode_plain_text(value, charset)
    if content_type and content_type not in _JSON_TYPES and not content_type.endswith("+json"):
        raise InvalidRecord(f"an event's data of type {_shorten(content_type)} is not read; application/json and text/plain are")
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"the event's data is not JSON: {error}") from None


def _add_event_id(data: object, event_id: object) -> Mapping[str, Any]:
    """Return the request in the data of an event, with the id of the event if the data has no id."""
    if isinstance(data, str):
        return {"text": data, "id": event_id}
    if not isinstance(data, dict):
        raise InvalidRecord(f"the event's data must be an object with a `text`, or a string, not {_name_json_type(data)}")
    return data if data.get("id") is not None else {**data, "id": event_id}


def _check_version(version: object) -> None:
    if version != _CLOUDEVENTS_VERSION:
        raise InvalidRecord(f"CloudEvents {_CLOUDEVENTS_VERSION} is read, not specversion {_shorten(version)}")


def _decode_base64(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        raise InvalidRecord(f"data_base64 must be a string, not {_name_json_type(encoded)}")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRecord("data_base64 is not base64") from None


def _check_text(text: object, limits: Limits) -> str:
    if text is None:
        raise InvalidRecord("there is no `text`")
    if not isinstance(text, str):
        raise InvalidRecord(f"`text` must be a string, not {_name_json_type(text)}")
    if len(text) > limits.max_text_chars:
        raise InvalidRecord(f"the text has {len(text)} characters; at most {limits.max_text_chars} are read")
    if not VISIBLE.search(text):
        raise InvalidRecord("the text is blank")
    return text


def _check_id(identity: object, record: Record, limits: Limits) -> str:
    if identity is None:
        return f"{record.partition}-{record.offset}"
    if not isinstance(identity, str):
        raise InvalidRecord(f"`id` must be a string, not {_name_json_type(identity)}")
    if not 0 < len(identity) <= limits.max_id_chars:
        raise InvalidRecord(f"`id` has {len(identity)} characters; it needs 1 to {limits.max_id_chars}")
    if found := _CONTROL.search(identity):
        raise InvalidRecord(f"`id` holds the control character U+{ord(found[0]):04X}")
    return identity


def _check_tasks(selected: object, served: frozenset[Task]) -> frozenset[Task]:
    if selected is None:
        return served
    if not isinstance(selected, list):
        raise InvalidRecord(f"`tasks` must be a list of names, not {_name_json_type(selected)}")
    if not selected:
        raise InvalidRecord("none of the tasks is asked for: `tasks` is empty")
    if strange := [name for name in selected if not isinstance(name, str)]:
        raise InvalidRecord(f"`tasks` must be a list of names; {_name_json_type(strange[0])} is none")
    names = ", ".join(sorted(served))
    unknown = sorted(set(selected) - set(Task))
    if unknown:
        raise InvalidRecord(f"there is no task {_shorten(unknown[0])}; this worker serves {names}")
    asked = frozenset(Task(name) for name in selected)
    # Other workers may serve the other tasks. This is an error only if no task remains for this worker.
    if not asked & served:
        raise InvalidRecord(f"none of the tasks asked for is served here; this worker serves {names}")
    return asked & served


def _name_json_type(value: object) -> str:
    """Return the JSON type of a value. Errors never contain the value, which may be personal data."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")


def _shorten(value: object) -> str:
    """Return the first 40 characters of a name, or the type of a value that is no string."""
    return repr(value[:40]) if isinstance(value, str) else _name_json_type(value)
