"""Reads records in the format of a schema registry, with the readers of schemas that were loaded before. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import InvalidRecord
from worker.wire.content import name_json_type, read_content, read_text
from worker.wire.keys import read_key_id, select_key_id
from worker.wire.registered.avro import build_avro_reader
from worker.wire.registered.frame import NUM_PREFIX_BYTES, InvalidSchema, read_schema_id
from worker.wire.registered.protobuf import build_protobuf_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.wire.content import Content
    from worker.wire.registered.frame import RegisteredSchema, ValueReader


def build_value_reader(schema: RegisteredSchema) -> ValueReader:
    """Return the function that reads values of a schema; for a schema that is not read, one that raises the reason."""
    if schema.type == "JSON":
        # The producer has validated the value. Its schema may have patterns that take exponential time, so it is not applied.
        return _read_json
    build = {"AVRO": build_avro_reader, "PROTOBUF": build_protobuf_reader}.get(schema.type)
    if build is None:
        return build_refusal(f"its schema is of type {schema.type!r}; AVRO, JSON and PROTOBUF are read")
    try:
        return build(schema)
    except InvalidSchema as error:
        return build_refusal(f"its schema is not read: {error}")
    except ImportError:
        return build_refusal(f"its schema needs a package: pip install 'gist-stream[{schema.type.lower()}]'")


def build_refusal(reason: str) -> ValueReader:
    """Return a reader that raises `InvalidRecord` with a reason."""

    def refuse(value: bytes) -> Any:
        raise InvalidRecord(f"the value of schema {read_schema_id(value)}: {reason}")

    return refuse


def _read_json(value: bytes) -> Any:
    try:
        return orjson.loads(value[NUM_PREFIX_BYTES:])
    except orjson.JSONDecodeError as error:
        raise InvalidRecord(f"the data after the schema id are not JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class RegisteredForm:
    """Reads the content of records with the readers of their schemas, and of other records as the wire contract says.

    Both methods raise `InvalidRecord` and no other exception.
    """

    #: Returns the reader of a schema id; None if it is not loaded.
    find_reader: Callable[[int], ValueReader | None]

    def read_content(self, value: bytes, headers: Mapping[str, bytes]) -> tuple[Content, object]:
        """Return the content of a value, and the id of its CloudEvent; None for another record."""
        schema_id = read_schema_id(value)
        if schema_id is None:
            return read_content(value, headers)
        content = self._read(schema_id, value)
        if not isinstance(content, dict | str):
            raise InvalidRecord(f"the value of schema {schema_id} must be an object or a string, not {name_json_type(content)}")
        return content, read_text(headers, "ce_id") if "ce_specversion" in headers and "ce_id" in headers else None

    def read_key_id(self, key: bytes | None) -> str:
        """Return the id in a key, as `worker.wire.keys` does."""
        schema_id = read_schema_id(key)
        return read_key_id(key) if schema_id is None or key is None else select_key_id(self._read(schema_id, key))

    def _read(self, schema_id: int, value: bytes) -> Any:
        reader = self.find_reader(schema_id)
        if reader is None:
            raise InvalidRecord(f"schema {schema_id} is not loaded from the registry")
        return reader(value)
