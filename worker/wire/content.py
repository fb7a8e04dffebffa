"""Reads the value of a record in any of the accepted forms: JSON, plain text, CloudEvents. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import orjson

from worker.errors import InvalidRecord
from worker.wire.keys import read_key_id
from worker.wire.registered.frame import read_schema_id

if TYPE_CHECKING:
    from collections.abc import Mapping

# An object with fields, or the text itself.
Content: TypeAlias = "Mapping[str, Any] | str"

_CLOUDEVENTS_VERSION = "1.0"
_JSON_TYPES = ("application/json", "text/json")
# ASCII is valid UTF-8.
_CHARSETS = ("utf-8", "utf8", "us-ascii")


def read_content(value: bytes, headers: Mapping[str, bytes]) -> tuple[Content, object]:
    """Return the content of a value, and the id of its CloudEvent; None for another record.

    Raises `InvalidRecord`.
    """
    content_type, charset = _parse_content_type(read_text(headers, "content-type")) if "content-type" in headers else ("", "utf-8")
    if content_type.startswith("application/cloudevents"):
        if content_type != "application/cloudevents+json":
            raise InvalidRecord(
                f"the content type {shorten(content_type)} is not read; of CloudEvents, application/cloudevents+json is"
            )
        return _read_structured_event(_parse_object(value))
    if "ce_specversion" in headers:
        return _read_binary_event(value, headers, content_type, charset)
    if content_type == "text/plain":
        return _decode_plain_text(value, charset), None
    fields = _parse_object(value)
    return _read_structured_event(fields) if "specversion" in fields and "text" not in fields else (fields, None)


class RecordForm(Protocol):
    """Reads the content of values and the id in keys. Both methods raise `InvalidRecord` and no other exception."""

    def read_content(self, value: bytes, headers: Mapping[str, bytes]) -> tuple[Content, object]:
        """Return the content of a value, and the id of its CloudEvent; None for another record."""

    def read_key_id(self, key: bytes | None) -> str:
        """Return the id in a key."""


class WireForm:
    """Values and keys of the wire contract."""

    read_content = staticmethod(read_content)
    read_key_id = staticmethod(read_key_id)


def read_text(headers: Mapping[str, bytes], name: str) -> str:
    """Return the text of a header. Raises `InvalidRecord` for another encoding than UTF-8."""
    try:
        return headers[name].decode()
    except UnicodeDecodeError:
        raise InvalidRecord(f"the header {name!r} is not UTF-8") from None


def dump_bytes(value: object) -> str:
    """Return bytes, which Avro has, as base64, for `orjson.dumps`. Raises `TypeError` for a value of another type."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


def name_json_type(value: object) -> str:
    """Return the JSON type of a value. Errors never contain the value, which may be personal data."""
    names = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        bytes: "bytes",
    }
    return names.get(type(value), "an object")


def shorten(value: object) -> str:
    """Return the first 40 characters of a name, or the type of a value that is no string."""
    return repr(value[:40]) if isinstance(value, str) else name_json_type(value)


def _parse_content_type(header: str) -> tuple[str, str]:
    """Return the media type and the charset, in lower case."""
    media_type, *parameters = (part.strip().lower() for part in header.split(";"))
    charsets = [value.removeprefix("charset=").strip('"') for value in parameters if value.startswith("charset=")]
    return media_type, charsets[0] if charsets else "utf-8"


def _decode_plain_text(value: bytes, charset: str) -> str:
    if charset not in _CHARSETS:
        raise InvalidRecord(f"plain text must be UTF-8, not {shorten(charset)}")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"the text is not UTF-8: byte {error.start} is {value[error.start]:#04x}") from None


def _parse_object(value: bytes) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if (schema_id := read_schema_id(value)) is not None:
            raise InvalidRecord(
                f"the value is not JSON: the first byte is the magic byte of a schema registry, of schema {schema_id}; "
                "set GIST_SCHEMA_REGISTRY_URL"
            ) from None
        raise InvalidRecord(f"the value is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidRecord(f"the value must be a JSON object with a `text`, not {name_json_type(parsed)}")
    return parsed


def _read_structured_event(event: Mapping[str, Any]) -> tuple[Content, object]:
    """Return content and id of a structured CloudEvent: one JSON object with attributes and data."""
    _check_version(event.get("specversion"))
    data = event.get("data")
    if data is None and "data_base64" in event:
        content_type = event.get("datacontenttype", "application/json")
        if not isinstance(content_type, str):
            raise InvalidRecord(f"the event's datacontenttype must be a string, not {name_json_type(content_type)}")
        data = _read_event_data(_decode_base64(event["data_base64"]), *_parse_content_type(content_type))
    return _check_data(data), event.get("id")


def _read_binary_event(value: bytes, headers: Mapping[str, bytes], content_type: str, charset: str) -> tuple[Content, object]:
    """Return content and id of a binary CloudEvent: the attributes are headers, and the data is the value."""
    _check_version(read_text(headers, "ce_specversion"))
    event_id = read_text(headers, "ce_id") if "ce_id" in headers else None
    data = _read_event_data(value, content_type, charset)
    # Some producers send a structured event in a binary event.
    if isinstance(data, dict) and "specversion" in data and "text" not in data:
        content, inner_id = _read_structured_event(data)
        return content, event_id if inner_id is None else inner_id
    return _check_data(data), event_id


def _read_event_data(value: bytes, content_type: str, charset: str) -> object:
    if content_type == "text/plain":
        return _decode_plain_text(value, charset)
    if content_type and content_type not in _JSON_TYPES and not content_type.endswith("+json"):
        raise InvalidRecord(f"an event's data of type {shorten(content_type)} is not read; application/json and text/plain are")
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"the event's data is not JSON: {error}") from None


def _check_data(data: object) -> Content:
    if not isinstance(data, str | dict):
        raise InvalidRecord(f"the event's data must be an object with a `text`, or a string, not {name_json_type(data)}")
    return data


def _check_version(version: object) -> None:
    if version != _CLOUDEVENTS_VERSION:
        raise InvalidRecord(f"CloudEvents {_CLOUDEVENTS_VERSION} is read, not specversion {shorten(version)}")


def _decode_base64(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        raise InvalidRecord(f"data_base64 must be a string, not {name_json_type(encoded)}")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRecord("data_base64 is not base64") from None
