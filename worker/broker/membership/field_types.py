"""Types of Kafka's message definitions that aiokafka 0.14 has no class for."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.types import CompactArray, CompactString, Int8, Schema, TaggedFields

if TYPE_CHECKING:
    from io import BytesIO

#: A compact string, which may be null.
TEXT = CompactString("utf-8")
#: The value of a field of tags without tags.
NO_TAGS: dict[int, bytes] = {}


class Uuid(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    """A topic id: 16 bytes."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        """Return the bytes of an id."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        """Return the id at the start of `data`."""
        return uuid.UUID(bytes=data.read(16))


class NullableStruct(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    """A struct that may be null: a byte, -1 for null and 1 for the struct that follows."""

    def __init__(self, *fields: tuple[str, Any]) -> None:
        self._schema = build_struct(*fields)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a tuple of values, or of None."""
        return bytes(Int8.encode(-1)) if value is None else bytes(Int8.encode(1) + self._schema.encode(value))

    def decode(self, data: BytesIO) -> Any:
        """Return a tuple of values, or None."""
        return None if Int8.decode(data) < 0 else self._schema.decode(data)

    def repr(self, value: Any) -> str:
        """Return the text of a value for a log."""
        return repr(value)


def build_struct(*fields: tuple[str, Any]) -> Schema:
    """Return the schema of a struct of a flexible version. Its last field is the tags."""
    return Schema(*fields, ("tags", TaggedFields))


def build_array(*fields: tuple[str, Any]) -> CompactArray:
    """Return the type of an array of structs of a flexible version."""
    return CompactArray(*fields, ("tags", TaggedFields))
